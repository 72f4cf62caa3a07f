"""Strict packets: what a client may send, what closes its connection, and what goes out."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from socketio import packet

from gtower_realtime.engineio.protocol import ProtocolError
from gtower_realtime.gateway.packets import StrictPacket, encode_event

CONNECT, DISCONNECT, EVENT, ACK = packet.CONNECT, packet.DISCONNECT, packet.EVENT, packet.ACK
BINARY_EVENT, BINARY_ACK = packet.BINARY_EVENT, packet.BINARY_ACK


def nested(levels: int) -> str:
    """Return an array of so many levels."""
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "packet_type", "namespace", "ack_id", "payload"),
    [
        ("0", CONNECT, None, None, None),
        ("0/", CONNECT, "/", None, None),
        ("0/websocket", CONNECT, "/websocket", None, None),
        ("0/websocket,", CONNECT, "/websocket", None, None),
        ("0/websocket?token=a/b,", CONNECT, "/websocket", None, None),
        ("0{}", CONNECT, None, None, {}),
        ('0/websocket,{"token":"t"}', CONNECT, "/websocket", None, {"token": "t"}),
        ("1", DISCONNECT, None, None, None),
        ("1/websocket,", DISCONNECT, "/websocket", None, None),
        ('2["message"]', EVENT, None, None, ["message"]),
        ('2["message",{"a":[1,2.5,null,"ä"]},"more"]', EVENT, None, None, None),
        ('2["joinRoom","sales"]', EVENT, None, None, ["joinRoom", "sales"]),
        ('20["a"]', EVENT, None, 0, ["a"]),
        ('212["a"]', EVENT, None, 12, ["a"]),
        ('2999999999999999["a"]', EVENT, None, 999_999_999_999_999, ["a"]),
        ('2/websocket,12["a"]', EVENT, "/websocket", 12, ["a"]),
        ('2 ["a"]', EVENT, None, None, ["a"]),
        ('2[""]', EVENT, None, None, [""]),
        ('2["a",{"_placeholder":true,"num":0}]', EVENT, None, None, None),
        ('2["__proto__",{"__proto__":{"a":1}}]', EVENT, None, None, None),
        ("31[]", ACK, None, 1, []),
        ('3/websocket,1["ok",1]', ACK, "/websocket", 1, ["ok", 1]),
        (f'2["a",{nested(32)}]', EVENT, None, None, None),
        ('2["a",-1.7976931348623157e308]', EVENT, None, None, ["a", -1.7976931348623157e308]),
        ('2["a",123456789012345678901234567890]', EVENT, None, None, None),
    ],
)
def test_a_good_packet_is_read(
    text: str, packet_type: int, namespace: str | None, ack_id: int | None, payload: Any
) -> None:
    pkt = StrictPacket(encoded_packet=text)
    assert (pkt.packet_type, pkt.namespace, pkt.id) == (packet_type, namespace, ack_id)
    assert pkt.attachment_count == 0
    if payload is not None:
        assert pkt.data == payload


NOT_A_PACKET = "not a Socket.IO packet"
NOT_JSON = "a payload that is not strict JSON"
DOES_NOT_FIT = "a payload that does not fit the packet's type"
WRONG_NUMBER = "a wrong number of attachments"
NOT_ONCE = "attachments that are not each referenced once"
UNANNOUNCED = "a binary frame without a packet that announces it"


@pytest.mark.parametrize(
    ("encoded", "what"),
    [
        # No packet at all
        ("", NOT_A_PACKET),
        ("7", NOT_A_PACKET),
        ("9[]", NOT_A_PACKET),
        ("x", NOT_A_PACKET),
        (" 2[]", NOT_A_PACKET),
        ("-1", NOT_A_PACKET),
        ("٢[]", NOT_A_PACKET),
        ("[]", NOT_A_PACKET),
        (b"", UNANNOUNCED),
        (b"2[]", UNANNOUNCED),
        (b"\x00\xff", UNANNOUNCED),
        # Payloads that do not fit the type
        ("0[]", DOES_NOT_FIT),
        ('0"token"', DOES_NOT_FIT),
        ("0/websocket,1", DOES_NOT_FIT),
        ("01{}", DOES_NOT_FIT),
        ("1{}", DOES_NOT_FIT),
        ("1[]", DOES_NOT_FIT),
        ("11", DOES_NOT_FIT),
        ("2", DOES_NOT_FIT),
        ("21", DOES_NOT_FIT),
        ("2[]", DOES_NOT_FIT),
        ("2{}", DOES_NOT_FIT),
        ("2null", DOES_NOT_FIT),
        ('2"message"', DOES_NOT_FIT),
        ("2[1]", DOES_NOT_FIT),
        ("2[null]", DOES_NOT_FIT),
        ('2[["message"]]', DOES_NOT_FIT),
        ('2[{"toString":1}]', DOES_NOT_FIT),
        ("3", DOES_NOT_FIT),
        ("3[]", DOES_NOT_FIT),
        ("31", DOES_NOT_FIT),
        ("31{}", DOES_NOT_FIT),
        ("4", DOES_NOT_FIT),
        ('4{"message":"no"}', DOES_NOT_FIT),
        # Names that Socket.IO itself speaks with
        ('2["connect"]', DOES_NOT_FIT),
        ('2["connect_error"]', DOES_NOT_FIT),
        ('2["disconnect"]', DOES_NOT_FIT),
        ('2["disconnecting"]', DOES_NOT_FIT),
        ('2["newListener"]', DOES_NOT_FIT),
        ('2["removeListener"]', DOES_NOT_FIT),
        ('21["disconnect","transport close"]', DOES_NOT_FIT),
        ('2["\\u0063onnect"]', DOES_NOT_FIT),
        ('51-["disconnect",{"_placeholder":true,"num":0}]', DOES_NOT_FIT),
        # JSON that would disconnect its receivers
        ('2["a",NaN]', NOT_JSON),
        ('2["a",Infinity]', NOT_JSON),
        ('2["a",-Infinity]', NOT_JSON),
        ('2["a",1e999]', NOT_JSON),
        ('2["a",-1e999]', NOT_JSON),
        ('2["a",{"b":[1e999]}]', NOT_JSON),
        ('0{"token":NaN}', NOT_JSON),
        ("31[NaN]", NOT_JSON),
        ('2["a","\\ud800"]', NOT_JSON),
        ('2["a","\\udc00\\ud800"]', NOT_JSON),
        ('2["a","\ud800"]', NOT_JSON),
        # JSON that is too deep, or none
        (f'2["a",{nested(33)}]', NOT_JSON),
        (f'2["a",{nested(100_000)}]', NOT_JSON),
        ('2["a",' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "]", NOT_JSON),
        ("2" + "[" * 100_000, NOT_JSON),
        ('2["a"', NOT_JSON),
        ('2["a"]]', NOT_JSON),
        ('2["a"]x', NOT_JSON),
        ('2["a",]', NOT_JSON),
        ("2['a']", NOT_JSON),
        ("2undefined", NOT_JSON),
        ('2["a\n"]', NOT_JSON),
        ("2/websocket", DOES_NOT_FIT),
        ('2websocket,["a"]', NOT_JSON),
        (f'2/{"n" * 128},["a"]', NOT_JSON),
        (f'2/n?{"q" * 1025},["a"]', NOT_JSON),
        ('2-1["a"]', NOT_JSON),
        ('21.5["a"]', NOT_JSON),
        ('29999999999999999["a"]', NOT_JSON),
        ("2" + "9" * 100_000 + '["a"]', NOT_JSON),
        # Attachments that are counted wrongly, missing, or referenced more than once
        ('5["a",{"_placeholder":true,"num":0}]', WRONG_NUMBER),
        ('50-["a"]', NOT_JSON),
        ('51["a",{"_placeholder":true,"num":0}]', WRONG_NUMBER),
        ('511-["a",{"_placeholder":true,"num":0}]', WRONG_NUMBER),
        ('510000000000-["a",{"_placeholder":true,"num":0}]', NOT_JSON),
        ('59999999999-["a",{"_placeholder":true,"num":0}]', WRONG_NUMBER),
        ('21-["a",{"_placeholder":true,"num":0}]', WRONG_NUMBER),
        ("31-1[]", WRONG_NUMBER),
        ("01-{}", WRONG_NUMBER),
        ('5-1-["a"]', NOT_JSON),
        ('51-["a"]', NOT_ONCE),
        ('51-["a",{"_placeholder":false,"num":0}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":1}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":-1}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":"0"}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":0.0}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":false}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":null}]', NOT_ONCE),
        ('51-["a",{"_placeholder":true,"num":[0]}]', NOT_ONCE),
        (
            '51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]',
            NOT_ONCE,
        ),
        (
            '51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":"0"}]',
            NOT_ONCE,
        ),
        (
            '52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]',
            NOT_ONCE,
        ),
        (
            '51-["a"' + ',{"_placeholder":true,"num":0}' * 2000 + "]",
            NOT_ONCE,
        ),
        ('51-[{"_placeholder":true,"num":0}]', DOES_NOT_FIT),
        ('61-[{"_placeholder":true,"num":0}]', DOES_NOT_FIT),
        ("61-1[]", NOT_ONCE),
    ],
)
def test_a_malformed_packet_is_a_protocol_error(encoded: str | bytes, what: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        StrictPacket(encoded_packet=encoded)
    assert (str(caught.value), caught.value.close_code) == (what, 1002)


@pytest.mark.parametrize(
    ("text", "attachments", "data"),
    [
        ('51-["a",{"_placeholder":true,"num":0}]', [b"x"], ["a", b"x"]),
        (
            '52-["a",{"b":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}]',
            [b"x", b"y"],
            ["a", {"b": [b"y"]}, b"x"],
        ),
        ('61-7[{"_placeholder":true,"num":0}]', [b""], [b""]),
    ],
)
def test_attachments_are_put_where_they_are_referenced(
    text: str, attachments: list[bytes], data: list[Any]
) -> None:
    pkt = StrictPacket(encoded_packet=text)
    assert pkt.attachment_count == len(attachments)
    assert [pkt.add_attachment(part) for part in attachments] == [
        *[False] * (len(attachments) - 1),
        True,
    ]
    assert pkt.data == data


def test_ten_attachments_are_the_most() -> None:
    placeholders = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(11))
    with pytest.raises(ProtocolError, match="a wrong number of attachments"):
        StrictPacket(encoded_packet=f'511-["a",{placeholders}]')
    ten = placeholders.rpartition(",{")[0]
    assert StrictPacket(encoded_packet=f'510-["a",{ten}]').attachment_count == 10


@pytest.mark.parametrize(
    ("namespace", "offset", "encoded"),
    [
        ("/", None, '2["notification",{"title":"ä"}]'),
        ("/websocket", None, '2/websocket,["notification",{"title":"ä"}]'),
        ("/", "e1-ff", '2["notification",{"title":"ä"},"e1-ff"]'),
        ("/websocket", "e1-ff", '2/websocket,["notification",{"title":"ä"},"e1-ff"]'),
    ],
)
def test_an_event_is_encoded_for_its_namespace_with_its_offset_last(
    namespace: str, offset: str | None, encoded: str
) -> None:
    assert encode_event(namespace, "notification", '{"title":"ä"}', offset) == encoded


def test_an_event_of_any_name_is_encoded_as_json() -> None:
    assert encode_event("/", 'a"b', "{}") == '2["a\\"b",{}]'


def test_a_packet_to_be_sent_is_made_of_its_fields() -> None:
    pkt = StrictPacket(ACK, [{"ok": True}], namespace="/", id=7)
    assert pkt.encode() == '37[{"ok":true}]'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["_placeholder", "num", "a", "__proto__"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
pieces = st.lists(
    st.sampled_from(["0", "2", "5", "-", "/", ",", "?", "[", "]", "{", "}", '"', "\\", "a", " "])
    | st.text(max_size=3),
    max_size=12,
).map("".join)
plausible = st.builds(
    lambda packet_type, attachments, namespace, ack_id, payload: (
        packet_type + attachments + namespace + ack_id + json.dumps(payload)
    ),
    st.sampled_from("0123456"),
    st.sampled_from(["", "0-", "1-", "2-", "99999999999-"]),
    st.sampled_from(["", "/", "/n,", "/n?q,", "n,"]),
    st.sampled_from(["", "0", "7", "9" * 20]),
    json_values,
)


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(st.binary(max_size=8) | st.text(max_size=20) | pieces | plausible)
@example('51-["a",{"_placeholder":{"_placeholder":true},"num":0}]')
def test_whatever_is_sent_only_a_protocol_error_comes_out(encoded: str | bytes) -> None:
    try:
        pkt = StrictPacket(encoded_packet=encoded)
    except ProtocolError:
        return
    if pkt.packet_type in {EVENT, BINARY_EVENT}:
        assert isinstance(pkt.data[0], str)
    elif pkt.packet_type in {ACK, BINARY_ACK}:
        assert isinstance(pkt.data, list)
        assert pkt.id is not None
    for number in range(pkt.attachment_count):
        assert pkt.add_attachment(b"x") is (number == pkt.attachment_count - 1)

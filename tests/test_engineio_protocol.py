import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtower_realtime.engineio import frames, protocol
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError

SEPARATOR = "\x1e"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters=SEPARATOR))


@pytest.mark.parametrize(
    ("encoded", "packet"),
    [
        ("1", ("1", "")),
        ("2probe", ("2", "probe")),
        ("2", ("2", "")),
        ("3", ("3", "")),
        ("4", ("4", "")),
        ("4hello", ("4", "hello")),
        ("44", ("4", "4")),
        ("4€\x1e", ("4", "€\x1e")),
        ("5", ("5", "")),
        (b"", ("4", b"")),
        (b"\x00\xff", ("4", b"\x00\xff")),
    ],
)
def test_a_websocket_message_is_one_packet(
    encoded: str | bytes, packet: tuple[str, str | bytes]
) -> None:
    assert protocol.decode_packet(encoded) == packet


@pytest.mark.parametrize(
    "encoded",
    [
        *("", "0", '0{"sid":"x"}', "6", "7", "9", "a", "abc", " 4", "-1", "\x1e", "bAQID"),
        *("\uff13", "1x", "3probe", "5now"),
    ],
)
def test_a_packet_that_no_client_may_send_is_refused(encoded: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        protocol.decode_packet(encoded)
    assert refusal.value.close_code == 1002


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        (b"4hello", [("4", "hello")]),
        (b"4a\x1e4b\x1e3", [("4", "a"), ("4", "b"), ("3", "")]),
        (b"4hello\x1ebAQIDBA==", [("4", "hello"), ("4", b"\x01\x02\x03\x04")]),
        (b"b", [("4", b"")]),
        ("4ü".encode(), [("4", "ü")]),
    ],
)
def test_a_payload_is_packets_in_their_order(
    body: bytes, packets: list[tuple[str, str | bytes]]
) -> None:
    assert protocol.decode_payload(body, 256) == packets


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"abc",
        b"\x1e",
        b"4a\x1e",
        b"\x1e4a",
        b"4a\x1e\x1e4b",
        b"4\xff",
        b"\xed\xa0\x80",
        b"b!!!!",
        b"bAQI",
        b"bAQID\n",
        b"bAQ=ID",
        "b€".encode(),
        b"4a\x1e0",
    ],
)
def test_a_payload_with_one_bad_packet_is_refused_whole(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.decode_payload(body, 256)


def test_a_payload_has_as_many_packets_as_it_may_have() -> None:
    whole = SEPARATOR.join(["4x"] * 256).encode()
    assert len(protocol.decode_payload(whole, 256)) == 256
    with pytest.raises(ProtocolError, match="more than 256 packets"):
        protocol.decode_payload(whole + b"\x1e4x", 256)


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x81\x01"),
        (124, b"\x81\x7d"),
        (125, b"\x81\x7e\x00\x7e"),
        (65534, b"\x81\x7e\xff\xff"),
        (65535, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_packet_is_one_frame_of_the_shortest_header(length: int, head: bytes) -> None:
    packet = EncodedPacket.message("x" * length)
    assert packet.frame == head + b"4" + b"x" * length
    assert packet.size == len(packet.frame)


def test_a_binary_packet_is_a_binary_frame_and_base64_in_a_payload() -> None:
    packet = EncodedPacket.message(b"\x01\x02\x03\x04")
    assert packet.frame == b"\x82\x04\x01\x02\x03\x04"
    assert packet.in_payload() == "bAQIDBA=="


def test_the_length_of_a_frame_counts_bytes() -> None:
    assert EncodedPacket.message("€").frame == b"\x81\x04" + "4€".encode()


def test_packets_are_joined_into_a_payload() -> None:
    packets = [EncodedPacket(protocol.PING), EncodedPacket.message("a"), EncodedPacket(b"\x00")]
    assert protocol.encode_payload(packets) == "2\x1e4a\x1ebAA=="


@given(st.text() | st.binary())
def test_nothing_but_a_packet_or_a_protocol_error_comes_of_a_message(encoded: str | bytes) -> None:
    try:
        packet_type, data = protocol.decode_packet(encoded)
    except ProtocolError:
        return
    assert packet_type in "12345"
    assert isinstance(data, type(encoded))


@given(
    st.binary()
    | st.lists(
        st.sampled_from([b"4", b"4x", b"b", b"bAA==", b"b=", b"3", b"2probe", b"1", b"0", b"\xff"]),
        max_size=6,
    ).map(b"\x1e".join)
)
def test_nothing_but_packets_or_a_protocol_error_comes_of_a_payload(body: bytes) -> None:
    try:
        packets = protocol.decode_payload(body, 4)
    except ProtocolError:
        return
    assert 1 <= len(packets) <= 4
    assert len(packets) == body.count(b"\x1e") + 1


@given(st.lists(TEXTS | st.binary(), min_size=1))
def test_what_is_sent_over_polling_is_what_the_other_side_reads(data: list[str | bytes]) -> None:
    payload = protocol.encode_payload([EncodedPacket.message(item) for item in data])
    assert protocol.decode_payload(payload.encode(), 1000) == [("4", item) for item in data]


@given(st.binary())
def test_binary_is_the_same_over_both_transports(content: bytes) -> None:
    packet = EncodedPacket.message(content)
    assert base64.b64decode(packet.in_payload()[1:]) == content
    assert packet.frame == frames.encode(frames.BINARY, content)

"""Socket.IO packets, read as strictly as Node's socket.io-parser does, and a little more.

Source: Socket.IO protocol v5, and `isPayloadValid` of socket.io-parser. Whatever a client sends,
only `ProtocolError` comes out of here, and it closes the connection.
"""

import re
from typing import Any, ClassVar

from socketio import packet

from gtower_realtime import strict_json
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.names import PROTOCOL_EVENTS

MAX_ATTACHMENTS = 10

# The array that holds an event's name and arguments is one level around the argument.
_MAX_DEPTH = strict_json.MAX_DEPTH + 1

# Type, attachments, namespace with an ignored query, acknowledgement id below 2^53, payload.
_HEADER = re.compile(
    r"(?P<type>[0-6])"
    r"(?:(?P<attachments>[1-9][0-9]{0,9})-)?"
    r"(?:(?P<namespace>/[^,?]{0,127})(?:\?[^,]{0,1024})?(?:,|\Z))?"
    r"(?P<id>[0-9]{1,15})?",
)
_BINARY_TYPES = (packet.BINARY_EVENT, packet.BINARY_ACK)


class StrictPacket(packet.Packet):  # type: ignore[misc]
    """A packet whose decoding refuses what Node's parser refuses, and what harms a receiver.

    ``data`` of a decoded packet is None or an object for CONNECT, None for DISCONNECT, a list that
    begins with the event's name for EVENT, a list for ACK.
    """

    json: ClassVar[Any] = strict_json

    def __init__(
        self, *fields: Any, encoded_packet: str | bytes | None = None, **options: Any
    ) -> None:
        super().__init__(*fields, **options)
        # The base class takes an empty text for none and makes an event without a name of it.
        if encoded_packet is not None:
            self.attachment_count = self.decode(encoded_packet)

    def decode(self, encoded_packet: str | bytes) -> int:
        """Read the text of a packet; return how many binary attachments must follow it.

        Raises:
            ProtocolError: it is not a packet that a client may send.
        """
        if not isinstance(encoded_packet, str):
            raise ProtocolError("a binary frame without a packet that announces it")
        header = _HEADER.match(encoded_packet)
        if header is None:
            raise ProtocolError("not a Socket.IO packet")
        self.packet_type = int(header["type"])
        self.namespace = header["namespace"]
        self.id = None if header["id"] is None else int(header["id"])
        self.data = _read_payload(encoded_packet, header.end())
        attachments = int(header["attachments"] or 0)
        is_binary = self.packet_type in _BINARY_TYPES
        if is_binary != (attachments > 0) or attachments > MAX_ATTACHMENTS:
            raise ProtocolError("a wrong number of attachments")
        if not _PAYLOAD_RULES[self.packet_type](self.data, self.id):
            raise ProtocolError("a payload that does not fit the packet's type")
        if is_binary:
            _check_placeholders(self.data, attachments)
        return attachments


def engineio_packets(pkt: packet.Packet) -> list[EncodedPacket]:
    """Return the Engine.IO messages that carry ``pkt``: its text, and its attachments if any.

    Raises:
        ValueError: its data cannot be said in JSON.
    """
    encoded = pkt.encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [EncodedPacket.message(part) for part in parts]


def encode_event(
    namespace: str, event: str, body: str, offset: str | None = None, ack_id: int | None = None
) -> str:
    """Return the EVENT packet for ``event``, whose payload ``body`` is JSON text already.

    ``offset`` is its extra last argument; ``ack_id`` asks for an acknowledgement under this number.
    """
    prefix = "2" if namespace == "/" else f"2{namespace},"
    last = "" if offset is None else f',"{offset}"'
    number = "" if ack_id is None else ack_id
    return f"{prefix}{number}[{strict_json.dumps(event)},{body}{last}]"


def endings_of(body: str, offset: str | None) -> list[bytes]:
    """Return what the packet of an event ends with, without its offset and with it."""
    return [f"{body}]".encode(), *([] if offset is None else [f',"{offset}"]'.encode()])]


def _read_payload(encoded_packet: str, start: int) -> Any:
    if start == len(encoded_packet):
        return None
    try:
        return strict_json.loads(encoded_packet[start:], _MAX_DEPTH)
    except ValueError:
        raise ProtocolError("a payload that is not strict JSON") from None


def _is_connect(payload: Any, ack_id: int | None) -> bool:
    return ack_id is None and (payload is None or isinstance(payload, dict))


def _is_disconnect(payload: Any, ack_id: int | None) -> bool:
    return ack_id is None and payload is None


def _is_event(payload: Any, _ack_id: int | None) -> bool:
    return (
        isinstance(payload, list)
        and len(payload) > 0
        and isinstance(payload[0], str)
        and payload[0] not in PROTOCOL_EVENTS
    )


def _is_ack(payload: Any, ack_id: int | None) -> bool:
    return ack_id is not None and isinstance(payload, list)


def _is_refused(_payload: Any, _ack_id: int | None) -> bool:
    return False


_PAYLOAD_RULES = {
    packet.CONNECT: _is_connect,
    packet.DISCONNECT: _is_disconnect,
    packet.EVENT: _is_event,
    packet.ACK: _is_ack,
    packet.CONNECT_ERROR: _is_refused,
    packet.BINARY_EVENT: _is_event,
    packet.BINARY_ACK: _is_ack,
}


def _check_placeholders(payload: Any, attachments: int) -> None:
    """Check that each attachment is referenced exactly once, so that none is multiplied."""
    found: list[Any] = []
    waiting = [payload]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            if item.get("_placeholder"):
                found.append(item.get("num"))
            else:
                waiting.extend(item.values())
    numbers = [number for number in found if type(number) is int]
    if len(numbers) != len(found) or sorted(numbers) != list(range(attachments)):
        raise ProtocolError("attachments that are not each referenced once")

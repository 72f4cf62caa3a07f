"""Engine.IO v4 packets and payloads: pure functions.

Source: the Engine.IO protocol, revision 4. Whatever a client sends, only `ProtocolError` comes out
of here.
"""

import base64
import binascii

from gtower_realtime.engineio import frames

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0", "1", "2", "3", "4", "5", "6"

PROBE = "probe"
"""What the ping and the pong that try out an upgrade carry."""

_SEPARATOR = "\x1e"
_BINARY_PREFIX = "b"
_FROM_CLIENT = frozenset({CLOSE, PING, PONG, MESSAGE, UPGRADE})
_WITHOUT_DATA = frozenset({CLOSE, PONG, UPGRADE})

Packet = tuple[str, str | bytes]
"""The type of a packet and its data."""


class ProtocolError(Exception):
    """A client has broken the protocol: its connection is closed with ``close_code``."""

    def __init__(self, what: str, close_code: int = frames.PROTOCOL_ERROR) -> None:
        super().__init__(what)
        self.close_code = close_code


class EncodedPacket:
    """A packet ready to be sent by either transport, shared by all its recipients.

    ``frame`` is the whole WebSocket frame, made once; ``size`` its length in bytes, which is what
    counts against the buffer of a client.
    """

    __slots__ = ("_encoded", "frame", "size")

    def __init__(self, encoded: str | bytes) -> None:
        self._encoded = encoded
        self.frame = (
            frames.encode(frames.TEXT, encoded.encode())
            if isinstance(encoded, str)
            else frames.encode(frames.BINARY, encoded)
        )
        self.size = len(self.frame)

    @classmethod
    def message(cls, data: str | bytes) -> "EncodedPacket":
        """Return the packet that carries ``data`` to the application on the other side."""
        return cls(data if isinstance(data, bytes) else MESSAGE + data)

    def in_payload(self) -> str:
        """Return the packet as a polling payload has it."""
        if isinstance(self._encoded, str):
            return self._encoded
        return _BINARY_PREFIX + base64.b64encode(self._encoded).decode()


def encode_payload(packets: list[EncodedPacket]) -> str:
    """Return the body of a polling answer."""
    return _SEPARATOR.join(packet.in_payload() for packet in packets)


def decode_payload(body: bytes, max_packets: int) -> list[Packet]:
    """Read the body of a polling request: at most ``max_packets`` packets.

    Raises:
        ProtocolError: it is not UTF-8, has too many packets, or one that a client may not send.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ProtocolError("a payload that is not UTF-8") from None
    if text.count(_SEPARATOR) >= max_packets:
        raise ProtocolError(f"a payload of more than {max_packets} packets")
    return [_decode_from_payload(encoded) for encoded in text.split(_SEPARATOR)]


def decode_packet(encoded: str | bytes) -> Packet:
    """Read the content of one WebSocket message.

    Raises:
        ProtocolError: it is empty, or a packet that a client may not send.
    """
    if isinstance(encoded, bytes):
        return MESSAGE, encoded
    packet_type, data = encoded[:1], encoded[1:]
    if packet_type not in _FROM_CLIENT:
        raise ProtocolError("a packet of a type that a client may not send")
    if data and packet_type in _WITHOUT_DATA:
        raise ProtocolError("a packet with data that its type does not have")
    return packet_type, data


def _decode_from_payload(encoded: str) -> Packet:
    if not encoded.startswith(_BINARY_PREFIX):
        return decode_packet(encoded)
    try:
        return MESSAGE, base64.b64decode(encoded[1:], validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("a binary packet that is not base64") from None

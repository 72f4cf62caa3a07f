"""WebSocket frames as a server reads and writes them (RFC 6455, sections 5 to 8); no I/O.

No extension is spoken, so reserved bits are an error. Whatever a client sends, only `FrameError`
comes out of here.
"""

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

PROTOCOL_ERROR = 1002
NOT_UTF_8 = 1007
TOO_BIG = 1009

_DATA = frozenset({CONTINUATION, TEXT, BINARY})
_CONTROL = frozenset({CLOSE, PING, PONG})

_FINAL, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_MAX_CONTROL_BYTES = 125
_MASK_BYTES = 4

Frame = tuple[int, str | bytes]
"""An opcode and its content: text for TEXT, bytes for all others. A message is given whole."""


class FrameError(Exception):
    """A client has broken RFC 6455: the connection fails with ``close_code``."""

    def __init__(self, what: str, close_code: int = PROTOCOL_ERROR) -> None:
        super().__init__(what)
        self.close_code = close_code


def encode(opcode: int, content: bytes) -> bytes:
    """Return an unmasked, final frame, as a server sends it."""
    first, length = _FINAL | opcode, len(content)
    if length < 126:
        return struct.pack("!BB", first, length) + content
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length) + content
    return struct.pack("!BBQ", first, 127, length) + content


def encode_close(code: int, reason: str) -> bytes:
    """Return a CLOSE frame; of a reason of more than 123 bytes the beginning."""
    room = _MAX_CONTROL_BYTES - 2
    told = reason.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    return encode(CLOSE, struct.pack("!H", code) + told.encode())


class FrameReader:
    """Finds messages and control frames in the bytes of a client, in whatever pieces they come."""

    __slots__ = ("_buffer", "_message", "_message_opcode")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._message: bytearray | None = None
        self._message_opcode = CONTINUATION

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take the bytes that have come."""
        self._buffer += chunk

    def next(self, max_message_bytes: int) -> Frame | None:
        """Return the next message or control frame; None until more bytes have come.

        A message of more than ``max_message_bytes``, over all its fragments, is refused as soon as
        a header announces it. After an error the reader is of no more use.

        Raises:
            FrameError: the bytes are against the protocol.
        """
        while True:
            payload = self._next_payload(max_message_bytes)
            if payload is None:
                return None
            first, content = payload
            opcode, is_final = first & _OPCODE, bool(first & _FINAL)
            if opcode in _CONTROL:
                return opcode, _checked_close(content) if opcode == CLOSE else content
            if is_final and self._message is None:
                return _message(opcode, content)
            if self._message is None:
                self._message, self._message_opcode = bytearray(), opcode
            self._message += content
            if is_final:
                message, self._message = self._message, None
                return _message(self._message_opcode, bytes(message))

    def _next_payload(self, max_message_bytes: int) -> tuple[int, bytes] | None:
        """Remove one whole frame and return its first byte and its content."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        self._check_header(first, second)
        length, start = second & _LENGTH, 2
        if length > _MAX_CONTROL_BYTES:
            extended = 2 if length == 126 else 8
            start += extended
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[2:start], "big")
        already = len(self._message) if self._message is not None else 0
        if first & _OPCODE in _DATA and already + length > max_message_bytes:
            raise FrameError("message too big", TOO_BIG)
        end = start + _MASK_BYTES + length
        if len(buffer) < end:
            return None
        mask = bytes(buffer[start : start + _MASK_BYTES])
        content = _unmask(mask, bytes(buffer[start + _MASK_BYTES : end]))
        del buffer[:end]
        return first, content

    def _check_header(self, first: int, second: int) -> None:
        opcode = first & _OPCODE
        if first & _RESERVED:
            raise FrameError("a reserved bit without an extension")
        if not second & _MASKED:
            raise FrameError("a frame that is not masked")
        if opcode in _CONTROL:
            if not first & _FINAL:
                raise FrameError("a control frame in fragments")
            if second & _LENGTH > _MAX_CONTROL_BYTES:
                raise FrameError("a control frame of more than 125 bytes")
        elif opcode not in _DATA:
            raise FrameError("an unknown opcode")
        elif (opcode == CONTINUATION) != (self._message is not None):
            raise FrameError("fragments out of order")


def _unmask(mask: bytes, content: bytes) -> bytes:
    # Integers of any length make this a few operations, however long the message.
    length = len(content)
    key = (mask * (length // _MASK_BYTES + 1))[:length]
    masked = int.from_bytes(content, "little") ^ int.from_bytes(key, "little")
    return masked.to_bytes(length, "little")


def _message(opcode: int, content: bytes) -> Frame:
    if opcode == BINARY:
        return opcode, content
    try:
        return opcode, content.decode()
    except UnicodeDecodeError:
        raise FrameError("text that is not UTF-8", NOT_UTF_8) from None


def _checked_close(content: bytes) -> bytes:
    """Return the content of a CLOSE frame if it is empty, or a code and a reason."""
    if not content:
        return content
    code = int.from_bytes(content[:2], "big")
    if len(content) == 1 or not (
        code in {1000, 1001, 1002, 1003} or 1007 <= code <= 1014 or 3000 <= code <= 4999
    ):
        raise FrameError("a close code that may not be sent")
    try:
        content[2:].decode()
    except UnicodeDecodeError:
        raise FrameError("a close reason that is not UTF-8", NOT_UTF_8) from None
    return content

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtower_realtime.engineio import frames
from gtower_realtime.engineio.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameError,
    FrameReader,
)
from tests.wire import frame

LIMIT = 1000


def read(content: bytes, limit: int = LIMIT) -> list[Frame]:
    """Return everything that a reader finds in ``content``."""
    reader = FrameReader()
    reader.feed(content)
    found = []
    while (item := reader.next(limit)) is not None:
        found.append(item)
    return found


@pytest.mark.parametrize(
    ("opcode", "content", "read_as"),
    [
        (TEXT, b"", ""),
        (TEXT, "4hellö".encode(), "4hellö"),
        (BINARY, b"\x00\xff", b"\x00\xff"),
        (PING, b"are you there", b"are you there"),
        (PONG, b"", b""),
        (CLOSE, b"", b""),
        (CLOSE, b"\x03\xe8", b"\x03\xe8"),
        (CLOSE, b"\x0f\xa0bye \xe2\x82\xac", b"\x0f\xa0bye \xe2\x82\xac"),
        (PING, b"x" * 125, b"x" * 125),
    ],
)
def test_a_frame_is_read(opcode: int, content: bytes, read_as: str | bytes) -> None:
    assert read(frame(content, opcode)) == [(opcode, read_as)]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 100_001])
def test_frames_of_all_three_lengths_are_read(length: int) -> None:
    content = bytes(index % 251 for index in range(length))
    assert read(frame(content, BINARY) + frame("next"), 1_000_000) == [
        (BINARY, content),
        (TEXT, "next"),
    ]


def test_control_frames_may_come_between_fragments() -> None:
    content = (
        frame(b"4\xe2", TEXT, is_final=False)
        + frame(b"a", PING)
        + frame(b"\x82", CONTINUATION, is_final=False)
        + frame(b"", CONTINUATION, is_final=False)
        + frame(b"b", PONG)
        + frame(b"\xac!", CONTINUATION)
        + frame("next")
    )
    assert read(content) == [(PING, b"a"), (PONG, b"b"), (TEXT, "4€!"), (TEXT, "next")]


@pytest.mark.parametrize(
    ("content", "close_code"),
    [
        (frame("4x", is_masked=False), 1002),
        (frame(b"", CLOSE, is_masked=False), 1002),
        (frame("4x", reserved=4), 1002),
        (frame("4x", reserved=2), 1002),
        (frame("4x", reserved=1), 1002),
        (frame(b"", PING, reserved=4), 1002),
        *((frame(b"", opcode), 1002) for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)),
        (frame(b"", PING, is_final=False), 1002),
        (frame(b"", PONG, is_final=False), 1002),
        (frame(b"", CLOSE, is_final=False), 1002),
        (frame(b"x" * 126, PING), 1002),
        (frame(b"x" * 70000, PONG), 1002),
        (frame(b"\x03\xe8" + b"x" * 124, CLOSE), 1002),
        (frame(b"x", CONTINUATION), 1002),
        (frame(b"x", CONTINUATION, is_final=False), 1002),
        (frame("4x", is_final=False) + frame("4x"), 1002),
        (frame("4x", is_final=False) + frame(b"x", is_final=False), 1002),
        (frame("4x", is_final=False) + frame("x", CONTINUATION) + frame("x", CONTINUATION), 1002),
        (frame(b"4\xff", TEXT), 1007),
        (frame(b"4\xc0\x80", TEXT), 1007),
        (frame(b"4\xed\xa0\x80", TEXT), 1007),
        (frame(b"4\xf4\x90\x80\x80", TEXT), 1007),
        (frame(b"4\xe2\x82", TEXT), 1007),
        (frame("4", is_final=False) + frame(b"\xff", CONTINUATION), 1007),
        (frame(b"\x03", CLOSE), 1002),
        (frame(b"\x03\xe8\xff", CLOSE), 1007),
        *((frame(code.to_bytes(2, "big"), CLOSE), 1002) for code in (0, 999, 1004, 1005, 1006)),
        *((frame(code.to_bytes(2, "big"), CLOSE), 1002) for code in (1015, 2999, 5000, 65535)),
        (frame(b"x" * 1001), 1009),
        (frame(b"x" * 500, is_final=False) + frame(b"x" * 501, CONTINUATION), 1009),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
        (b"\x82\xff\x00\x00\x00\x00\x3b\x9a\xca\x00", 1009),
    ],
)
def test_what_is_against_the_protocol_says_which_close_code_it_is(
    content: bytes, close_code: int
) -> None:
    with pytest.raises(FrameError) as refusal:
        read(content)
    assert refusal.value.close_code == close_code


def test_a_header_is_judged_before_anything_of_its_content_has_come() -> None:
    for head in (b"\x81\x05", b"\xc1\x85", b"\x83\x85", b"\x09\x85", b"\x89\xfe"):
        with pytest.raises(FrameError):
            read(head)
    with pytest.raises(FrameError):
        read(b"\x82\xfe\x03\xe9")


def test_a_message_of_the_limit_is_read_in_one_piece_and_in_several() -> None:
    assert read(frame(b"x" * 1000)) == [(BINARY, b"x" * 1000)]
    pieces = frame(b"x" * 500, is_final=False) + frame(b"x" * 500, CONTINUATION)
    assert read(pieces) == [(BINARY, b"x" * 1000)]


def test_the_limit_is_the_one_of_the_moment() -> None:
    reader = FrameReader()
    reader.feed(frame("40") + frame("4" * 100))
    assert reader.next(10) == (TEXT, "40")
    assert reader.next(100) == (TEXT, "4" * 100)


def test_a_control_frame_does_not_count_as_part_of_the_message_around_it() -> None:
    content = frame(b"x" * 1000, is_final=False) + frame(b"x" * 125, PING)
    assert read(content) == [(PING, b"x" * 125)]


@given(st.data())
def test_the_pieces_in_which_bytes_come_make_no_difference(data: st.DataObject) -> None:
    messages = data.draw(st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=5))
    stream = b"".join(frame(message) for message in messages)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    reader, found = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        while (item := reader.next(LIMIT * 2)) is not None:
            found.append(item[1])
    assert found == messages


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=20))
def test_nothing_but_frames_or_a_frame_error_comes_of_any_bytes(
    content: bytes, steps: list[int]
) -> None:
    reader, codes = FrameReader(), {1002, 1007, 1009}
    try:
        for step in [*steps, len(content)]:
            reader.feed(content[:step])
            content = content[step:]
            while reader.next(64) is not None:
                pass
    except FrameError as refusal:
        codes.remove(refusal.close_code)


@given(st.binary(max_size=70000))
def test_a_frame_of_ours_has_the_shortest_header(content: bytes) -> None:
    encoded = frames.encode(BINARY, content)
    length = len(content)
    assert len(encoded) - length == (2 if length < 126 else 4 if length < 65536 else 10)
    assert encoded.endswith(content)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("", b""),
        ("slow consumer", b"slow consumer"),
        ("x" * 200, b"x" * 123),
        ("€" * 100, "€".encode() * 41),
        ("\ud800", b"?"),
    ],
)
def test_a_close_frame_has_room_for_the_beginning_of_any_reason(reason: str, told: bytes) -> None:
    assert frames.encode_close(4003, reason) == frames.encode(CLOSE, b"\x0f\xa3" + told)

import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
import structlog

from gtower_realtime import logs
from gtower_realtime.logs import RepeatFilter, RepeatLimitedLogger

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Give a stream to log to, and put the former set-up back in the end."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield io.StringIO()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def monotonic() -> list[float]:
    """Give the time of a clock as a list with one element."""
    return [100.0]


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_is_one_object_per_line_with_time_level_logger_and_event(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    structlog.get_logger("gateway").warning("slow", client_id="c1", took=0.5, odd={1: b"x"})
    (line,) = json_lines(stream)
    assert TIMESTAMP.fullmatch(str(line.pop("timestamp")))
    assert line == {
        "level": "warning",
        "logger": "gateway",
        "event": "slow",
        "client_id": "c1",
        "took": 0.5,
        "odd": {"1": "b'x'"},
    }


def test_messages_of_libraries_look_like_ours(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    logging.getLogger("tornado.application").error("Uncaught %s", "thing", extra={"path": "/"})
    (line,) = json_lines(stream)
    assert TIMESTAMP.fullmatch(str(line.pop("timestamp")))
    assert line == {
        "level": "error",
        "logger": "tornado.application",
        "event": "Uncaught thing",
        "path": "/",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_messages_below_the_level_are_left_out(form: str, stream: io.StringIO) -> None:
    logs.configure("warning", form, stream)
    structlog.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    assert stream.getvalue() == ""


def test_text_is_a_readable_line_without_colours_when_it_goes_to_a_file(
    stream: io.StringIO,
) -> None:
    logs.configure("info", "text", stream)
    structlog.get_logger("gateway").info("started", port=3000)
    line = stream.getvalue()
    assert "started" in line
    assert "port=3000" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_does_not_show_the_values_of_variables(form: str, stream: io.StringIO) -> None:
    logs.configure("info", form, stream)
    token = "".join(["s3", "cret"])
    try:
        dict[int, int]()[len(token)]
    except KeyError as problem:
        structlog.get_logger("gateway").error("failed", exc_info=problem)
        logging.getLogger("tornado").exception("failed")
    written = stream.getvalue()
    assert written.count("KeyError: 6") == 2
    assert "s3cret" not in written


def test_a_second_set_up_replaces_the_first(stream: io.StringIO) -> None:
    logs.configure("info", "text", io.StringIO())
    logs.configure("info", "json", stream)
    structlog.get_logger().info("once")
    assert len(json_lines(stream)) == 1


def test_the_same_message_is_logged_once_per_second_with_the_number_held_back(
    stream: io.StringIO, monotonic: list[float]
) -> None:
    logs.configure("info", "json", stream)
    limited = RepeatLimitedLogger(structlog.get_logger(), lambda: monotonic[0])
    for _ in range(3):
        limited.error("roomMessage", "handler_failed", name="roomMessage")
    monotonic[0] += 0.999
    limited.error("roomMessage", "handler_failed")
    monotonic[0] += 0.001
    limited.warning("roomMessage", "handler_failed")
    monotonic[0] += 1.0
    limited.error("roomMessage", "handler_failed")
    lines = json_lines(stream)
    assert [(line["level"], line.get("suppressed")) for line in lines] == [
        ("error", None),
        ("warning", 3),
        ("error", None),
    ]
    assert lines[0]["name"] == "roomMessage"


def test_different_keys_do_not_hold_each_other_back(
    stream: io.StringIO, monotonic: list[float]
) -> None:
    logs.configure("info", "json", stream)
    limited = RepeatLimitedLogger(structlog.get_logger(), lambda: monotonic[0])
    for key in ("a", "b", "a"):
        limited.error(key, "failed", key=key)
    assert [line["key"] for line in json_lines(stream)] == ["a", "b"]


def test_of_too_many_keys_the_one_logged_longest_ago_is_forgotten(
    stream: io.StringIO, monotonic: list[float]
) -> None:
    logs.configure("info", "json", stream)
    limited = RepeatLimitedLogger(structlog.get_logger(), lambda: monotonic[0], max_keys=2)
    for key in ("a", "b", "b"):
        limited.error(key, "failed", key=key)
    monotonic[0] += 1
    for key in ("a", "c", "a", "b"):
        limited.error(key, "failed", key=key)
    lines = json_lines(stream)
    assert [line["key"] for line in lines] == ["a", "b", "a", "c", "b"]
    assert "suppressed" not in lines[-1]


# The context


def test_a_line_tells_whose_business_it_is(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    before = logs.CLIENT_ID.set("c1")
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("ours").info("said")
        logging.getLogger("theirs").info("said")
        structlog.get_logger("ours").info("of another", client_id="c2", request_id="r2")
    logs.CLIENT_ID.reset(before)
    structlog.get_logger("ours").info("of nobody")
    assert [(line.get("client_id"), line.get("request_id")) for line in json_lines(stream)] == [
        ("c1", "r1"),
        ("c1", "r1"),
        ("c2", "r2"),
        (None, None),
    ]


# A flood of the same message


@pytest.fixture
def flooded(stream: io.StringIO, monotonic: list[float]) -> io.StringIO:
    """Give a stream whose filter has the time of `monotonic`."""
    logs.configure("info", "json", stream)
    (handler,) = logging.getLogger().handlers
    (handler.filters[0],) = [RepeatFilter(lambda: monotonic[0])]
    return stream


def say_ours(number: int) -> None:
    structlog.get_logger("a").error("failed", number=number)


def say_theirs(number: int) -> None:
    logging.getLogger("a").error("failed %s", number)


@pytest.mark.parametrize("say", [say_ours, say_theirs])
def test_a_flood_of_errors_is_ten_lines_a_second_and_their_number(
    flooded: io.StringIO, monotonic: list[float], say: Callable[[int], None]
) -> None:
    for number in range(25):
        say(number)
    assert len(json_lines(flooded)) == 10
    monotonic[0] += 0.999
    say(25)
    assert len(json_lines(flooded)) == 10
    monotonic[0] += 0.001
    say(26)
    say(27)
    lines = json_lines(flooded)
    assert [line.get("suppressed") for line in lines] == [None] * 10 + [16, None]
    assert {str(line["event"])[:6] for line in lines} == {"failed"}


def test_a_flood_holds_back_nothing_else(flooded: io.StringIO) -> None:
    logger = structlog.get_logger("a")
    for _ in range(11):
        logger.error("failed")
    logger.warning("failed")
    logger.error("other")
    structlog.get_logger("b").error("failed")
    for _ in range(11):
        logger.info("usual")
    assert len(json_lines(flooded)) == 10 + 3 + 11


def test_messages_that_are_all_different_take_no_more_memory(monotonic: list[float]) -> None:
    held = RepeatFilter(lambda: monotonic[0])

    def is_written(message: str) -> bool:
        return held.filter(logging.LogRecord("a", logging.ERROR, "", 0, message, None, None))

    assert all(is_written("first") for _ in range(10))
    assert not is_written("first")
    assert all(is_written(f"message {number}") for number in range(1000))
    assert len(held._said) == 1000
    assert is_written("first")

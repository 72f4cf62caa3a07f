import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from gtower_realtime import logs
from gtower_realtime.logs import RepeatLimitedLogger

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

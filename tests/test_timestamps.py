"""The one form of time on the wire, and the many that are read."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.timestamps import SystemClock, format_timestamp, parse_timestamp

# Whole milliseconds are what the wire can say.
moments = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (datetime(2026, 11, 23, 12, 28, 18, 953_000, UTC), "2026-11-23T12:28:18.953Z"),
        (datetime(2026, 11, 23, 12, 28, 18, 953_999, UTC), "2026-11-23T12:28:18.953Z"),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23T00:00:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
        (
            datetime(2026, 11, 23, 1, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2026-11-22T19:30:00.000Z",
        ),
    ],
)
def test_a_time_is_shown_in_utc_with_milliseconds_and_z(moment: datetime, shown: str) -> None:
    assert format_timestamp(moment) == shown


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-23T12:28:18.953Z", "2026-11-23T12:28:18.953Z"),
        ("2026-11-23t12:28:18.953z", "2026-11-23T12:28:18.953Z"),
        ("2026-11-23T12:28:18,953Z", "2026-11-23T12:28:18.953Z"),
        ("2026-11-23T12:28:18.953123456Z", "2026-11-23T12:28:18.953Z"),
        ("2026-11-23T12:28:18Z", "2026-11-23T12:28:18.000Z"),
        ("2026-11-23T12:28Z", "2026-11-23T12:28:00.000Z"),
        ("2026-11-23T12Z", "2026-11-23T12:00:00.000Z"),
        ("2026-11-23 12:28:18", "2026-11-23T12:28:18.000Z"),
        ("2026-11-23T12:28:18+05:30", "2026-11-23T06:58:18.000Z"),
        ("2026-11-23T12:28:18-0300", "2026-11-23T15:28:18.000Z"),
        ("2026-11-23T12:28:18+02", "2026-11-23T10:28:18.000Z"),
        ("2026-11-23", "2026-11-23T00:00:00.000Z"),
        ("20261123T122818Z", "2026-11-23T12:28:18.000Z"),
        ("2026-W48-1", "2026-11-23T00:00:00.000Z"),
        ("2024-02-29", "2024-02-29T00:00:00.000Z"),
    ],
)
def test_iso_8601_is_read_as_utc(text: str, read: str) -> None:
    assert format_timestamp(parse_timestamp(text)) == read


def test_a_time_without_offset_is_utc_wherever_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "EST5")
        time.tzset()
        read = parse_timestamp("2026-11-23T12:28:18")
    time.tzset()
    assert read == datetime(2026, 11, 23, 12, 28, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1764073698",
        "2026-11-23T",
        "2026-11-23T12:28:18.953Z ",
        "2026-11-23T12:28:18.953Z\n",
        "2026-11-23X12:28:18",
        "2026-11-23T12:28:18.Z",
        "2026-1123",
        "2026-02-30",
        "2026-13-01",
        "2026-11-23T25:00:00Z",
        "2026-11-23T12:60:00Z",
        "2026-11-23T12:28:18+24:00",
        "0000-01-01",
        "12026-11-23",
        "٢٠٢٦-11-23",
        "Mon, 23 Nov 2026 12:28:18 GMT",
        "2026-11-23T12:28:18." + "0" * 100_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the words are Python's for some of them)
        parse_timestamp(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_that_utc_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        parse_timestamp(text)


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(moments)
def test_what_is_shown_is_read_again_as_the_same_time(moment: datetime) -> None:
    assert parse_timestamp(format_timestamp(moment)) == moment


def test_the_clock_of_the_machine_shows_aware_utc_and_measures_steadily() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert time.monotonic() <= clock.monotonic() <= time.monotonic()

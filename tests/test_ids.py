"""Ids: as long as they should be, never twice, of URL-safe characters."""

import re

import pytest

from gtower_realtime.ids import RandomIds


def test_ids_are_distinct_and_safe_in_a_url() -> None:
    ids = RandomIds(15)
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", one) for one in made)


def test_what_base64_would_fill_up_is_no_length() -> None:
    with pytest.raises(ValueError, match="multiple of three"):
        RandomIds(10)

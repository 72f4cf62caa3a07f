"""How far a process has read what Redis has, and how it sees that some of it is missing."""

from gtower_realtime.cluster.position import Position


def test_the_last_entry_that_is_known_only_moves_on() -> None:
    at = Position()
    for entry_id in ("5-1", "5-0", "known", "refused", "4-9"):
        at.know_of(entry_id)
    assert at.last_known == "5-1"


def test_a_log_that_begins_behind_the_next_entry_was_trimmed() -> None:
    at = Position(log_id="5-1")
    assert [at.is_before(first) for first in ("5-0", "5-1", "5-2")] == [False, False, True]


def test_a_log_that_has_lost_its_data_was_not_trimmed_until_something_of_the_new_is_read() -> None:
    at = Position(log_id="5-1", last_known="5-3")
    at.lose()
    assert (at.losses, at.last_known, at.is_before("9-0")) == (1, "0-0", False)
    at.log_id = "9-0"
    assert at.is_before("9-5")

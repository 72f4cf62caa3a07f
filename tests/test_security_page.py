"""Each line of the threat table that says that it holds has a test, and each test here a line."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "security.md"

PROOFS = {
    # Anybody on the network
    "calls triggers, reads or": ["once_there_is_a_key_nothing_is_answered_without_one"],
    "finds a server that was started without keys": ["without_a_key_other_machines_are_not_served"],
    "connects as a client without a token": [
        "a_client_without_a_good_token_is_refused_and_hears_nothing"
    ],
    "sends `alg: none`": [
        "a_token_without_a_signature_or_with_an_unknown_algorithm_is_refused",
        "a_public_key_is_never_taken_for_a_secret",
    ],
    "brings a key along": ["a_key_that_the_token_itself_brings_along_is_not_believed"],
    "sends huge or deeply nested tokens": [
        "a_token_over_8_kb_is_refused_before_anything_looks_into_it"
    ],
    "invents key ids": [
        "unknown_keys_make_the_server_ask_three_times_at_once_and_once_in_20_seconds"
    ],
    "opens connections without end": [
        "one_connection_too_many_is_told_to_come_back_later",
        "one_connection_too_many_of_an_address_is_refused",
        "an_address_that_connects_too_fast_is_slowed_down",
    ],
    "handshakes and never connects": [
        "a_handshake_without_connect_does_not_last",
        "big_messages_before_connect_are_refused_by_their_header",
    ],
    "sends requests slowly": ["a_request_that_does_not_come_to_its_end_is_cut_off"],
    "sends huge bodies": [
        "a_big_body_is_refused_wherever_it_is_sent",
        "a_body_in_chunks_is_cut_at_the_limit",
    ],
    "claims another address": ["an_address_is_the_sockets_unless_a_trusted_proxy_says_another"],
    "learns about the inside": ["a_fault_of_ours_shows_no_internals"],
    # A page in somebody's browser
    "of another origin connects": [
        "another_origin_is_forbidden",
        "a_websocket_from_another_origin_is_forbidden_before_it_opens",
        "an_upgrade_from_another_origin_is_forbidden_and_polling_goes_on",
    ],
    "posts a form to the API": [
        "a_body_that_is_declared_as_something_else_than_json_is_refused",
        "another_origin_is_forbidden",
    ],
    "points its own name": ["without_keys_the_api_answers_to_no_other_name"],
    "frames our pages": [
        "a_page_carries_the_headers_that_protect_it",
        "markup_in_what_others_send_is_shown_as_text_and_runs_nothing",
    ],
    # A client
    "joins, publishes to or reads rooms": ["refusals_say_which_right_is_missing_where"],
    "enters or reads `user:…`": [
        "no_grant_reaches_the_rooms_of_the_server",
        "nobody_gets_into_the_room_of_an_id",
    ],
    "comes back as somebody else": ["a_session_is_for_nobody_but_its_user"],
    "stays in a room after": [
        "no_joins_refreshes_and_expiries_leave_a_client_in_a_room_it_may_not_be_in",
        "a_token_that_ends_closes_with_4202",
    ],
    "goes on after its user was locked out": [
        "a_user_that_is_sent_away_does_not_come_back_with_an_old_session",
        "who_was_sent_away_does_not_come_back_after_a_kill_right_behind_the_answer",
    ],
    "takes part in a broadcast": ["a_client_without_a_good_token_is_refused_and_hears_nothing"],
    "forges `connected`": [
        "forging_a_protocol_event_runs_no_handler_and_ends_the_client_truly",
        "what_only_the_server_says_is_reserved",
    ],
    "sends what breaks other clients": ["poison_closes_its_own_connection_and_reaches_nobody"],
    "sends malformed frames": ["malformed_input_closes_with_a_code_and_leaves_nothing"],
    "reads slowly": ["a_client_that_does_not_read_costs_its_budget_and_nobody_else"],
    "sends events as fast as it can": [
        "a_flood_of_one_client_is_answered_in_order_and_lets_others_through",
        "reading_stops_while_too_many_messages_wait_and_goes_on_after",
    ],
    "does so for minutes": ["a_flooding_user_is_refused_and_its_address_is_not"],
    "joins rooms without end": ["a_client_is_in_so_many_rooms_and_no_more"],
    # A back-end with a key
    "does more than it is for": [
        "a_key_may_do_what_its_scopes_say",
        "a_key_with_prefixes_may_address_such_rooms_only",
    ],
    "sends the server's own events": ["what_only_the_server_says_is_reserved"],
    "floods the server": ["a_key_that_is_used_too_fast_is_told_how_long_to_wait"],
    "signs tokens that grant too much": [
        "a_public_key_in_pem_or_jwk_checks_the_tokens_of_its_private_half"
    ],
    "has a token meant for another service": [
        "a_token_for_another_audience_or_none_is_invalid",
        "a_token_of_another_issuer_or_none_is_invalid",
    ],
    "repeats a request": [
        "the_callers_id_makes_a_repeated_request_one",
        "the_same_key_at_another_path_is_another_request",
    ],
    "reads or deletes the history": ["a_key_with_prefixes_reads_about_such_rooms_only"],
    "learns who is in other rooms": ["a_key_with_prefixes_reads_about_such_rooms_only"],
    # The issuer's key set
    "is changed on its way": [
        "keys_come_from_nowhere_else",
        "anything_but_success_is_a_failure_and_redirects_are_not_followed",
    ],
    "has secrets, private or weak keys": [
        "a_jwk_that_tokens_cannot_be_checked_with_is_passed_over",
    ],
    "is huge, slow or down": [
        "at_most_256_kb_are_read",
        "a_set_has_at_most_a_hundred_keys",
        "an_issuer_that_does_not_finish_in_time_is_a_failure",
        "the_old_keys_stay_good_while_there_are_no_new_ones",
    ],
    # Who finds the WhatsApp webhook
    "posts what is not Meta's": ["without_the_right_signature_nothing_is_stored"],
    "posts what Meta has signed once more": [
        "a_sample_is_exactly_its_event_once_however_often_it_is_posted",
        "each_message_and_status_of_a_batch_is_published_once_wherever_the_kill_falls",
    ],
    "guesses or looks for the verify token": [
        "any_other_handshake_is_forbidden_and_tells_no_token"
    ],
    "names rooms or ids": [
        "what_names_no_customer_is_passed_over",
        "an_id_of_any_characters_makes_a_key_that_every_database_takes",
    ],
    # The resolver of customers
    "is slow, huge or down": [
        "anything_else_is_a_failure",
        "a_back_end_that_fails_is_left_alone_for_a_while",
    ],
    # Who reads logs or settings
    # Who opens the dashboard
    "watches without being allowed": [
        "a_key_must_allow_everything",
        "who_was_refused_is_shown_nothing",
        "without_keys_it_is_for_this_machine_only",
    ],
    "has a page in somebody's browser": ["pages_of_others_cannot_watch"],
    "names rooms or events so that": ["what_others_have_named_is_shown_as_text"],
    "looks for keys and tokens": [
        "no_message_and_no_repr_shows_a_secret",
        "nothing_of_a_token_or_a_key_is_logged_or_shown",
    ],
}
"""How a line of the table begins, and the tests that would fail if it did not hold."""


def lines_that_hold() -> list[str]:
    table = PAGE.read_text(encoding="utf-8").partition("## Who could try what")[2]
    return re.findall(r"^\| (.+?) \| .+ \| yes \|$", table, re.MULTILINE)


def test_each_line_that_holds_has_its_tests_and_no_other() -> None:
    without = lines_that_hold()
    assert without
    for beginning in PROOFS:
        found = [line for line in without if line.startswith(beginning)]
        assert len(found) == 1, beginning
        without.remove(found[0])
    assert without == []


@pytest.mark.parametrize("name", sorted({name for names in PROOFS.values() for name in names}))
def test_the_tests_of_the_table_are_there(name: str) -> None:
    sources = (path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py"))
    assert any(f"def test_{name}(" in source for source in sources)

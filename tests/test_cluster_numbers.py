"""Ids of a Redis stream as numbers, and back."""

from hypothesis import given
from hypothesis import strategies as st

from gtower_realtime.cluster.numbers import number_of, stream_id

ids = st.tuples(st.integers(0, 2**43), st.integers(0, 4095))


def test_an_id_has_its_milliseconds_above_seventeen_bits_and_its_sequence_above_five() -> None:
    assert number_of("0-0") == 0
    assert number_of("0-1") == 32
    assert number_of("1-0") == 131_072
    assert number_of("1795436898953-2") == 1_795_436_898_953 * 131_072 + 64


def test_an_id_without_a_sequence_is_the_first_of_its_millisecond() -> None:
    assert number_of("7") == number_of("7-0")


def test_a_number_between_two_ids_belongs_to_the_smaller() -> None:
    assert stream_id(number_of("5-3") + 31) == "5-3"
    assert stream_id(number_of("5-3") + 32) == "5-4"


def test_the_number_before_the_first_of_a_millisecond_belongs_to_the_millisecond_before() -> None:
    assert stream_id(number_of("5-0") - 1) == "4-4095"


def test_the_numbers_of_the_next_thousand_years_are_below_what_an_archive_can_keep() -> None:
    # 2**63: about the year 4200.
    assert number_of("70368744177663-4095") < 2**63


@given(one=ids, other=ids)
def test_numbers_are_in_the_order_of_ids_and_lead_back_to_them(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    texts = ["{}-{}".format(*parts) for parts in (one, other)]
    numbers = [number_of(text) for text in texts]
    assert [stream_id(number) for number in numbers] == texts
    assert (one < other) == (numbers[0] < numbers[1])

"""Where clients were: places, connections, stays, and how little of them is kept."""

from gtower_realtime import trails as module
from gtower_realtime.ports import Target
from gtower_realtime.trails import Trail, Trails


def an_event(trails: Trails) -> int:
    """Hand an event over; return its place."""
    place = trails.begin_delivery()
    trails.end_delivery()
    return place


def ann(trails: Trails) -> Trail:
    trail = trails.of_client("ann")
    assert trail is not None
    return trail


def with_ann(user_id: str | None = None) -> Trails:
    trails = Trails()
    trails.begin("ann", user_id)
    trails.connect("ann")
    return trails


def test_the_places_of_events_are_odd_and_rise() -> None:
    trails = Trails()
    assert [an_event(trails), an_event(trails), trails.place] == [1, 3, 4]


def test_a_delivery_that_has_failed_leaves_the_order_as_it_should_be() -> None:
    trails = Trails()
    trails.begin_delivery()
    assert an_event(trails) == 3


def test_a_stay_holds_for_the_events_in_between() -> None:
    trails = with_ann()
    before = an_event(trails)
    trails.enter("ann", "sales")
    during = an_event(trails)
    trails.leave("ann", "sales")
    after = an_event(trails)
    sales = Target.room("sales")
    assert [ann(trails).was_addressed(sales, place) for place in (before, during, after)] == [
        False,
        True,
        False,
    ]


def test_a_client_is_addressed_by_its_id_its_user_and_with_everybody() -> None:
    trails = with_ann("u1")
    place = an_event(trails)
    targets = [
        Target.client("ann"),
        Target.room("ann"),
        Target.user("u1"),
        Target.room("user:u1"),
        Target.all(),
        Target.user("u2"),
        Target.client("ben"),
    ]
    assert [ann(trails).was_addressed(target, place) for target in targets] == [
        *[True] * 5,
        False,
        False,
    ]


def test_a_stay_without_an_event_leaves_nothing_behind() -> None:
    trails = with_ann()
    trails.enter("ann", "sales")
    trails.leave("ann", "sales")
    assert list(ann(trails).past_stays) == []


def test_a_connection_that_is_closing_gets_nothing_any_more() -> None:
    trails = with_ann()
    got = an_event(trails)
    place = trails.begin_delivery()
    trails.close("ann", 4102)
    trails.end_delivery()
    trails.disconnect("ann")
    (span,) = ann(trails).spans
    assert (span.lasted_beyond(got), span.lasted_beyond(place)) == (True, False)
    assert (span.until, span.is_slow) == (place, True)


def test_of_many_stays_the_newest_are_kept_and_what_is_older_is_not_clear() -> None:
    trails = with_ann()
    places = []
    for _ in range(module.MAX_PAST_STAYS + 1):
        trails.enter("ann", "sales")
        places.append(an_event(trails))
        trails.leave("ann", "sales")
    assert len(ann(trails).past_stays) == module.MAX_PAST_STAYS
    assert places[0] <= ann(trails).unclear_until < places[1]


def test_what_nobody_asks_for_any_more_goes_without_anything_becoming_unclear() -> None:
    trails = with_ann()
    trails.enter("ann", "sales")
    an_event(trails)
    trails.leave("ann", "sales")
    trails.oldest = an_event(trails)
    trails.enter("ann", "sales")
    an_event(trails)
    trails.leave("ann", "sales")
    assert (len(ann(trails).past_stays), ann(trails).unclear_until) == (1, 0)


def test_of_many_connections_and_drops_the_newest_are_kept() -> None:
    trails = with_ann()
    for _ in range(module.MAX_DROPS + 1):
        trails.begin_delivery()
        trails.drop("ann")
        trails.end_delivery()
    assert (len(ann(trails).drops), ann(trails).unclear_until) == (module.MAX_DROPS, 1)
    for _ in range(module.MAX_PAST_SPANS + 2):
        trails.disconnect("ann")
        an_event(trails)
        trails.connect("ann")
    assert len(ann(trails).past_spans) == module.MAX_PAST_SPANS


def test_what_is_dropped_between_two_events_is_no_events_fate() -> None:
    trails = with_ann()
    trails.drop("ann")
    assert list(ann(trails).drops) == []


def test_of_many_acknowledgements_the_newest_are_kept() -> None:
    trails = with_ann()
    for place in range(module.MAX_ACKNOWLEDGED + 1):
        trails.acknowledge("ann", place)
    assert len(ann(trails).acknowledged) == module.MAX_ACKNOWLEDGED
    assert 0 not in ann(trails).acknowledged


def test_a_client_that_is_gone_for_good_is_known_as_long_as_events_of_its_time_are() -> None:
    trails = with_ann()
    place = an_event(trails)
    trails.disconnect("ann")
    trails.end("ann")
    assert ann(trails).existed(place)
    trails.oldest = an_event(trails)
    trails.begin("ben", None)
    trails.end("ben")
    assert [trail.client_id for trail in trails] == ["ben"]


def test_not_more_than_so_many_that_are_gone_are_known() -> None:
    trails = Trails()
    an_event(trails)
    for number in range(module.MAX_ENDED_TRAILS + 5):
        trails.begin(f"c{number}", None)
        trails.end(f"c{number}")
    known = [trail.client_id for trail in trails]
    assert (len(known), known[0]) == (module.MAX_ENDED_TRAILS, "c5")


def test_a_client_that_nobody_knows_changes_nothing() -> None:
    trails = Trails()
    trails.connect("nobody")
    trails.close("nobody", 1000)
    trails.enter("nobody", "sales")
    trails.leave("nobody", "sales")
    trails.confirm("nobody", 7)
    trails.acknowledge("nobody", 1)
    trails.disconnect("nobody")
    trails.end("nobody")
    assert list(trails) == []

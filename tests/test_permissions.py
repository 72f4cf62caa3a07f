"""Who may do what in which room."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.errors import Forbidden
from gtower_realtime.permissions import RIGHTS, Cap, Permissions, Right
from gtower_realtime.tokens import expiry_times
from tests.fakes import NOW

bounded = settings(derandomize=True, max_examples=300, deadline=None, database=None)

CLIENT_IDS = frozenset({"c1", "c2"})


def is_client_id(name: str) -> bool:
    return name in CLIENT_IDS


def granted(*caps: tuple[Sequence[str], Iterable[Right]], rooms: Iterable[str] = ()) -> Permissions:
    """Return permissions with one cap for each pair of patterns and rights."""
    made = [Cap(tuple(patterns), frozenset(allow)) for patterns, allow in caps]
    return Permissions(rooms, made, is_client_id)


def forbidding(permissions: Permissions, right: Right, room: str) -> tuple[str, str] | None:
    """Return code and sentence of the refusal; None when there is none."""
    try:
        permissions.check(right, room)
    except Forbidden as refusal:
        return refusal.code, refusal.message
    return None


@pytest.mark.parametrize("right", RIGHTS)
def test_a_cap_grants_each_right_by_its_name_and_no_other(right: Right) -> None:
    permissions = granted((["sales"], [right]))
    assert [each for each in RIGHTS if permissions.allows(each, "sales")] == [right]
    assert [each for each in RIGHTS if forbidding(permissions, each, "sales") is None] == [right]


@pytest.mark.parametrize(
    ("pattern", "room"),
    [
        ("sales", "sales"),
        ("whatsapp:customer:*", "whatsapp:customer:c42"),
        ("whatsapp:customer:*", "whatsapp:customer:a:b"),
        ("whatsapp:customer:*", "whatsapp:customer:"),
        ("*", "anything at all"),
        ("*", "*"),
        ("**", "x"),
        ("*:notes", "c42:notes"),
        ("team:*:notes", "team:a:b:notes"),
        ("team:*:notes", "team::notes"),
        ("a*b*c", "axbxbxc"),
        ("a*a", "aa"),
        ("*ab*ab*", "abab"),
        ("a.c", "a.c"),
        ("*", "two\u2028lines"),
    ],
)
def test_a_pattern_covers_a_room(pattern: str, room: str) -> None:
    assert granted(([pattern], ["join"])).allows("join", room)


@pytest.mark.parametrize(
    ("pattern", "room"),
    [
        ("sales", "Sales"),
        ("sales", "sales2"),
        ("sales", "presales"),
        ("whatsapp:customer:*", "whatsapp:general"),
        ("whatsapp:customer:*", "my whatsapp:customer:c42"),
        ("*:notes", "c42:notes:old"),
        ("a*a", "a"),
        ("ab*bc", "abc"),
        ("a*b*c", "acb"),
        ("*ab*ab*", "ab"),
        ("a*bc*c", "abc"),
        ("a.c", "abc"),
        ("a?c", "abc"),
        ("[ab]", "a"),
        ("sales", "*"),
        ("s*", "*"),
    ],
)
def test_a_pattern_does_not_cover_another_room(pattern: str, room: str) -> None:
    assert not granted(([pattern], ["join"])).allows("join", room)


@bounded
@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=10))
def test_patterns_cover_what_the_same_regular_expression_matches(pattern: str, room: str) -> None:
    assert granted(([pattern], ["join"])).allows("join", room) == matches(pattern, room)


def matches(pattern: str, room: str) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, room, re.DOTALL) is not None


def test_several_caps_and_patterns_add_up() -> None:
    permissions = granted((["a", "b*"], ["join"]), (["b*", "c"], ["history", "presence"]))
    assert [
        "".join(room for room in "abcd" if permissions.allows(right, room)) for right in RIGHTS
    ] == ["ab", "", "bc", "bc"]


def test_a_room_of_the_token_may_be_joined_and_nothing_else() -> None:
    permissions = granted(rooms=["sales"])
    assert [right for right in RIGHTS if permissions.allows(right, "sales")] == ["join"]
    assert not permissions.allows("join", "support")


def test_a_room_of_the_token_is_a_name_and_no_pattern() -> None:
    permissions = granted(rooms=["*", "team:*"])
    assert permissions.allows("join", "team:*")
    assert not permissions.allows("join", "team:a")


@pytest.mark.parametrize(
    ("right", "room", "sentence"),
    [
        ("join", "support", "Your token does not allow 'join' in the room 'support'."),
        ("publish", "sales", "Your token does not allow 'publish' in the room 'sales'."),
        ("history", "a'b", "Your token does not allow 'history' in the room \"a'b\"."),
    ],
)
def test_a_refusal_names_the_room_and_the_right(right: Right, room: str, sentence: str) -> None:
    assert forbidding(granted(rooms=["sales"]), right, room) == ("forbidden", sentence)


def test_without_any_grant_everything_is_forbidden() -> None:
    assert not [right for right in RIGHTS if granted().allows(right, "sales")]


@pytest.mark.parametrize("right", RIGHTS)
@pytest.mark.parametrize("room", ["user:u1", "user:", "c1"])
@pytest.mark.parametrize(
    "permissions",
    [
        Permissions.unrestricted(is_client_id),
        granted((["*", "user:*", "user:u1", "c1"], RIGHTS), rooms=["user:u1", "user:", "c1"]),
    ],
    ids=["auth off", "all granted"],
)
def test_no_grant_reaches_the_rooms_of_the_server(
    permissions: Permissions, room: str, right: Right
) -> None:
    assert not permissions.allows(right, room)
    assert forbidding(permissions, right, room) == (
        "forbidden",
        f"The room {room!r} belongs to the server; choose another name.",
    )


@pytest.mark.parametrize("right", RIGHTS)
@pytest.mark.parametrize("room", ["sales", "whatsapp:general", "users:u1", "*"])
def test_without_tokens_everything_else_is_allowed(room: str, right: Right) -> None:
    assert forbidding(Permissions.unrestricted(is_client_id), right, room) is None


def test_whose_name_a_room_has_is_asked_each_time() -> None:
    ids: set[str] = set()
    permissions = Permissions.unrestricted(ids.__contains__)
    assert permissions.allows("join", "c9")
    ids.add("c9")
    assert not permissions.allows("join", "c9")


def test_leaving_takes_no_right() -> None:
    granted().check_may_leave("sales")


@pytest.mark.parametrize("room", ["user:u1", "c1"])
def test_the_rooms_of_the_server_cannot_be_left(room: str) -> None:
    with pytest.raises(Forbidden) as caught:
        Permissions.unrestricted(is_client_id).check_may_leave(room)
    assert caught.value.message == f"The room {room!r} belongs to the server; choose another name."


@pytest.mark.parametrize(
    "permissions",
    [
        Permissions.unrestricted(is_client_id),
        granted((["*"], ["publish"])),
        granted((["sales", "*"], RIGHTS)),
    ],
)
def test_publish_on_the_star_allows_to_send_to_everybody(permissions: Permissions) -> None:
    permissions.check_may_broadcast()


@pytest.mark.parametrize(
    "permissions",
    [
        granted(),
        granted((["*"], ["join", "history", "presence"])),
        granted((["a*", "*a", "sales"], ["publish"])),
        granted(rooms=["*"]),
    ],
)
def test_nothing_less_allows_to_send_to_everybody(permissions: Permissions) -> None:
    with pytest.raises(Forbidden) as caught:
        permissions.check_may_broadcast()
    assert (caught.value.code, caught.value.message) == (
        "forbidden",
        "Your token does not allow 'publish' on '*', as messages to all need.",
    )


def test_a_refresh_tells_which_rooms_are_lost_in_their_order() -> None:
    permissions = granted((["team:*"], ["join"]), (["news"], ["history"]), rooms=["sales"])
    joined = ["support", "sales", "news", "team:a", "archive"]
    assert permissions.lost_rooms(joined) == ["support", "news", "archive"]


def test_a_refresh_leaves_the_room_of_the_user_to_the_server_and_no_other() -> None:
    permissions = granted((["*"], ["join"]))
    assert permissions.lost_rooms(["user:u1", "sales", "c1"]) == ["c1"]
    assert granted().lost_rooms(["user:u1", "sales"]) == ["sales"]


# The life of a connection: whatever happens, it is in no room that it may not be in.


@dataclass(frozen=True)
class Grant:
    """What a token grants, and when it ends."""

    rooms: tuple[str, ...]
    caps: tuple[tuple[tuple[str, ...], tuple[Right, ...]], ...]
    expires_at: datetime

    def may_be_in(self, room: str) -> bool:
        """Say so in other words than the code."""
        if room.startswith("user:") or room in CLIENT_IDS:
            return False
        joinable = [
            pattern for patterns, allow in self.caps if "join" in allow for pattern in patterns
        ]
        return room in self.rooms or any(matches(pattern, room) for pattern in joinable)


@dataclass
class ModelConnection:
    """One connection as the gateway has it: a grant, two alarms, rooms."""

    now: datetime = NOW
    grant: Grant | None = None
    permissions: Permissions = field(default_factory=granted)
    close_at: datetime = NOW
    joined: list[str] = field(default_factory=list)

    def connect(self, grant: Grant) -> None:
        if self.grant is None and self._take(grant):
            for room in grant.rooms:
                self.join(room)

    def refresh(self, grant: Grant) -> None:
        if self.grant is not None and self._take(grant):
            for room in self.permissions.lost_rooms(self.joined):
                self.joined.remove(room)

    def _take(self, grant: Grant) -> bool:
        if grant.expires_at <= self.now:
            return False
        times = expiry_times(grant.expires_at, self.now)
        self.grant = grant
        self.permissions = granted(*grant.caps, rooms=grant.rooms)
        self.close_at = self.now + timedelta(seconds=times.close_in)
        return True

    def join(self, room: str) -> None:
        if self.grant is not None and self.permissions.allows("join", room):
            self.joined = [*dict.fromkeys([*self.joined, room])]

    def leave(self, room: str) -> None:
        if room in self.joined:
            self.joined.remove(room)

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        if self.grant is not None and self.now >= self.close_at:
            self.grant, self.joined = None, []


room_names = st.sampled_from(["a", "a:1", "a:2", "b", "b:1", "c1", "c2", "user:u1", "*"])
patterns = st.sampled_from(["*", "a", "a:*", "b*", "*:1", "user:*", "c1"])
rights = st.lists(st.sampled_from(RIGHTS), min_size=1, max_size=4).map(tuple)
grants = st.builds(
    Grant,
    st.lists(room_names, max_size=3).map(tuple),
    st.lists(st.tuples(st.lists(patterns, max_size=2).map(tuple), rights), max_size=2).map(tuple),
    st.integers(-10, 120).map(lambda seconds: NOW + timedelta(seconds=seconds)),
)
actions = st.one_of(
    st.tuples(st.just("connect"), grants),
    st.tuples(st.just("refresh"), grants),
    st.tuples(st.just("join"), room_names),
    st.tuples(st.just("leave"), room_names),
    st.tuples(st.just("wait"), st.integers(0, 60)),
)


@bounded
@given(grants, st.lists(actions, max_size=30))
def test_no_joins_refreshes_and_expiries_leave_a_client_in_a_room_it_may_not_be_in(
    first: Grant, steps: list[tuple[str, object]]
) -> None:
    connection = ModelConnection()
    for action, argument in [("connect", first), *steps]:
        getattr(connection, action)(argument)
        grant = connection.grant
        if grant is None:
            assert connection.joined == []
            continue
        assert connection.now < grant.expires_at + timedelta(seconds=25)
        assert [room for room in connection.joined if not grant.may_be_in(room)] == []

"""Which API key may do what, and to whom."""

import hashlib
import hmac

import pytest

from gtower_realtime.errors import Forbidden, Unauthorized
from gtower_realtime.identity import ApiKeys, Scope, check_may_address
from gtower_realtime.ports import Target
from gtower_realtime.setting_values import ApiKey, api_keys

PUBLISHER = "publisher-publisher-publisher"
READER = "reader-reader-reader-reader"
ADMIN = "admin-admin-admin-admin"

KEYS = ApiKeys(api_keys(f"back:publish:{PUBLISHER},look:read:{READER},ops:admin:{ADMIN}"))

ROOMS_ONLY = ApiKey("crm", frozenset({"publish"}), b"", ("whatsapp:", "sales"))


@pytest.mark.parametrize(
    ("presented", "scope", "name"),
    [
        (PUBLISHER, "publish", "back"),
        (READER, "read", "look"),
        (ADMIN, "publish", "ops"),
        (ADMIN, "read", "ops"),
        (ADMIN, "admin", "ops"),
    ],
)
def test_a_key_with_the_scope_passes(presented: str, scope: Scope, name: str) -> None:
    key = KEYS.authorize(presented, scope)
    assert key is not None
    assert key.name == name


@pytest.mark.parametrize(
    ("presented", "scope", "sentence"),
    [
        (PUBLISHER, "read", "The key 'back' does not have the scope 'read'."),
        (PUBLISHER, "admin", "The key 'back' does not have the scope 'admin'."),
        (READER, "publish", "The key 'look' does not have the scope 'publish'."),
        (READER, "admin", "The key 'look' does not have the scope 'admin'."),
    ],
)
def test_a_key_without_the_scope_is_forbidden(presented: str, scope: Scope, sentence: str) -> None:
    with pytest.raises(Forbidden) as caught:
        KEYS.authorize(presented, scope)
    assert (caught.value.code, caught.value.message) == ("forbidden", sentence)


@pytest.mark.parametrize(
    ("presented", "sentence"),
    [
        (None, "An API key is needed; send it as X-API-Key."),
        ("", "This API key is not known."),
        (PUBLISHER[:-1], "This API key is not known."),
        (PUBLISHER + "x", "This API key is not known."),
        (PUBLISHER.upper(), "This API key is not known."),
        ("back", "This API key is not known."),
        ("schlüssel", "This API key is not known."),
        ("\udcff", "This API key is not known."),
        (hashlib.sha256(PUBLISHER.encode()).hexdigest(), "This API key is not known."),
    ],
)
def test_no_key_or_an_unknown_one_is_unauthorized(presented: str | None, sentence: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        KEYS.authorize(presented, "read")
    assert (caught.value.code, caught.value.message) == ("unauthorized", sentence)


def test_all_keys_are_compared_in_constant_time_whichever_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def compare(known: bytes, presented: bytes) -> bool:
        compared.append(known)
        return known == presented

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEYS.authorize(PUBLISHER, "publish")
    assert [len(digest) for digest in compared] == [32, 32, 32]


def test_without_keys_everybody_passes() -> None:
    keys = ApiKeys(())
    assert not keys.are_required
    assert keys.authorize(None, "admin") is None
    assert keys.authorize("anything", "admin") is None
    assert KEYS.are_required


@pytest.mark.parametrize(
    "target",
    [
        Target.room("sales"),
        Target.room("sales:emea"),
        Target(rooms=("whatsapp:general", "sales")),
        Target(rooms=("sales",), excluded=frozenset({"c1"})),
    ],
)
def test_a_key_with_room_prefixes_may_address_such_rooms(target: Target) -> None:
    check_may_address(ROOMS_ONLY, target)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Target.all(), "The key 'crm' may address rooms only."),
        (Target.user("sales"), "The key 'crm' may address rooms only."),
        (Target.client("sales"), "The key 'crm' may address rooms only."),
        (Target(rooms=("sales",), users=("u1",)), "The key 'crm' may address rooms only."),
        (Target(rooms=("sales",), clients=("c1",)), "The key 'crm' may address rooms only."),
        (Target.room("support"), "The key 'crm' may not address the room 'support'."),
        (Target.room("my sales"), "The key 'crm' may not address the room 'my sales'."),
        (
            Target(rooms=("sales", "support")),
            "The key 'crm' may not address the room 'support'.",
        ),
    ],
)
def test_a_key_with_room_prefixes_may_address_nothing_else(target: Target, sentence: str) -> None:
    with pytest.raises(Forbidden) as caught:
        check_may_address(ROOMS_ONLY, target)
    assert (caught.value.code, caught.value.message) == ("forbidden", sentence)


@pytest.mark.parametrize("target", [Target.all(), Target.user("u1"), Target.room("anything")])
def test_a_key_without_prefixes_or_no_key_may_address_everyone(target: Target) -> None:
    check_may_address(ApiKey("back", frozenset({"publish"}), b""), target)
    check_may_address(None, target)

"""Which tokens are accepted, what is read from them, and that nothing of a refused one leaks."""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gtower_realtime.errors import (
    InvalidToken,
    MissingToken,
    Overloaded,
    RealtimeError,
    TokenExpired,
)
from gtower_realtime.permissions import Cap
from gtower_realtime.timestamps import SystemClock
from gtower_realtime.tokens import (
    ExpiryTimes,
    TokenVerifier,
    VerificationKey,
    expiry_times,
)
from tests.conftest import PATIENCE_SECONDS, requires_binary
from tests.fakes import NOW, FakeClock

SECRET = "s3cret-s3cret-s3cret-s3cret-s3cr"  # 32 bytes, as short as may be
T = int(NOW.timestamp())
CLAIMS = {"sub": "u1", "exp": T + 60}

MISSING = (MissingToken, "missing_token", "A token is needed; connect with auth: {token}.")
INVALID = (InvalidToken, "invalid_token", "The token is not valid here; get another one.")
EXPIRED = (TokenExpired, "token_expired", "The token has expired; get a new one.")

SECURITY_PAGE = Path(__file__).parent.parent / "docs" / "security.md"


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


PRIVATE_KEYS: dict[str, Callable[[], Any]] = {"RS256": rsa_key, "ES256": ec_key, "EdDSA": ed_key}


def pem(key: Any) -> str:
    """Return the public half of a key."""
    return public_pem(key.public_key())


def public_pem(public_key: Any) -> str:
    encoded: bytes = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def public_jwk(algorithm: str, **more: Any) -> dict[str, Any]:
    """Return the public half of the key of ``algorithm`` as a JSON Web Key."""
    public_key = PRIVATE_KEYS[algorithm]().public_key()
    jwk: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(public_key, as_dict=True)
    return {name: value for name, value in jwk.items() if name != "key_ops"} | more


def token_of(
    claims: dict[str, Any] | None = None,
    key: Any = SECRET,
    algorithm: str = "HS256",
    **header: Any,
) -> str:
    """Return a good token, unless ``claims`` say otherwise."""
    return jwt.encode(CLAIMS if claims is None else claims, key, algorithm, header)


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: Any, claims: Any, secret: bytes = SECRET.encode()) -> str:
    """Return a token with any header and claims, signed with HMAC; raw bytes stay as they are."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part, ensure_ascii=False).encode()
        for part in (header, claims)
    ]
    signed = ".".join(map(base64url, parts))
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def verifier(key: VerificationKey | None = None, **options: Any) -> TokenVerifier:
    return TokenVerifier(key or VerificationKey.from_secret(SECRET), FakeClock(), **options)


class AnyKey:
    """A key source that gives the same key, or none, to everybody, and tells for what."""

    def __init__(self, key: VerificationKey | None) -> None:
        self.key = key
        self.asked: list[tuple[str, str | None]] = []

    async def find(self, algorithm: str, key_id: str | None) -> VerificationKey | None:
        self.asked.append((algorithm, key_id))
        return self.key


async def refusal_of(
    token: object, by: TokenVerifier | None = None
) -> tuple[type[RealtimeError], str, str]:
    """Return class, code and sentence of the refusal, which must be 401 and for good."""
    with pytest.raises(RealtimeError) as caught:
        await (by or verifier()).verify(token)
    refusal = caught.value
    assert (refusal.http_status, refusal.retryable, refusal.fields) == (401, False, None)
    assert refusal.__suppress_context__ or refusal.__context__ is None
    return type(refusal), refusal.code, refusal.message


# What is read


@pytest.mark.gen_test
async def test_a_token_says_who_the_client_is_and_what_it_may() -> None:
    identity = await verifier().verify(
        token_of(
            {
                "sub": "u1",
                "exp": T + 60,
                "rooms": ["sales", "team:a", "sales"],
                "caps": [
                    {"rooms": ["whatsapp:customer:*", "*"], "allow": ["join", "history", "join"]},
                    {"rooms": ["news"], "allow": ["publish", "presence"]},
                ],
                "info": {"name": "Ann", "age": 5.5, "tags": ["a", None]},
                "jti": 5,
                "admin": True,
            }
        )
    )
    assert identity.user_id == "u1"
    assert identity.rooms == ("sales", "team:a")
    assert identity.caps == (
        Cap(("whatsapp:customer:*", "*"), frozenset({"join", "history"})),
        Cap(("news",), frozenset({"publish", "presence"})),
    )
    assert identity.info == {"name": "Ann", "age": 5.5, "tags": ["a", None]}
    assert identity.expires_at == datetime(2026, 11, 23, 12, 29, 18, tzinfo=UTC)


@pytest.mark.gen_test
async def test_all_but_the_user_and_the_end_may_be_left_out() -> None:
    identity = await verifier().verify(token_of())
    assert (identity.rooms, identity.caps, identity.info) == ((), (), None)


@pytest.mark.gen_test
async def test_the_end_may_have_a_fraction() -> None:
    identity = await verifier().verify(token_of({"sub": "u1", "exp": T + 60.5}))
    assert identity.expires_at == datetime(2026, 11, 23, 12, 29, 18, 500_000, UTC)


# Algorithms and keys


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("secret", [SECRET, SECRET * 2, SECRET * 5, "ä" * 16])
@pytest.mark.gen_test
async def test_a_secret_checks_hs256_hs384_and_hs512(algorithm: str, secret: str) -> None:
    signed = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": algorithm}, CLAIMS))
    signature = hmac.digest(secret.encode(), signed.encode(), algorithm.replace("HS", "sha"))
    by = verifier(VerificationKey.from_secret(secret))
    identity = await by.verify(f"{signed}.{base64url(signature)}")
    assert identity.user_id == "u1"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.gen_test
async def test_a_public_key_in_pem_or_jwk_checks_the_tokens_of_its_private_half(
    algorithm: str,
) -> None:
    private = PRIVATE_KEYS[algorithm]()
    token = token_of(None, private, algorithm)
    in_pem = VerificationKey.from_pem(pem(private))
    in_jwk = VerificationKey.from_jwk(public_jwk(algorithm, use="sig", alg=algorithm, kid="k1"))
    assert in_jwk is not None
    assert (in_pem.key_id, in_jwk.key_id) == (None, "k1")
    for key in (in_pem, in_jwk):
        assert (await verifier(key).verify(token)).user_id == "u1"


@pytest.mark.parametrize("configured", ["HS256", "RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "RS512", "PS256", "ES256K"])
@pytest.mark.gen_test
async def test_a_token_of_another_algorithm_than_the_key_is_refused(
    configured: str, algorithm: str
) -> None:
    if configured == algorithm:
        return
    key = (
        VerificationKey.from_secret(SECRET)
        if configured == "HS256"
        else VerificationKey.from_pem(pem(PRIVATE_KEYS[configured]()))
    )
    if algorithm == "ES256K":
        private: Any = ec.generate_private_key(ec.SECP256K1())
    else:
        private = PRIVATE_KEYS.get(algorithm, rsa_key)()
    assert await refusal_of(token_of(None, private, algorithm), verifier(key)) == INVALID


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 "])
@pytest.mark.gen_test
async def test_a_token_without_a_signature_or_with_an_unknown_algorithm_is_refused(
    algorithm: str,
) -> None:
    token = forged({"alg": algorithm}, CLAIMS)
    unsigned = token.rpartition(".")[0] + "."
    for key in (VerificationKey.from_secret(SECRET), VerificationKey.from_pem(pem(ec_key()))):
        assert await refusal_of(token, verifier(key)) == INVALID
        assert await refusal_of(unsigned, verifier(key)) == INVALID


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.gen_test
async def test_a_public_key_is_never_taken_for_a_secret(algorithm: str) -> None:
    public = pem(PRIVATE_KEYS[algorithm]())
    by = verifier(VerificationKey.from_pem(public))
    for secret in (public.encode(), public.strip().encode()):
        assert await refusal_of(forged({"alg": "HS256"}, CLAIMS, secret), by) == INVALID


@pytest.mark.gen_test
async def test_a_key_is_used_for_its_own_algorithms_only_whoever_finds_it() -> None:
    public = pem(ed_key())
    key = VerificationKey.from_pem(public)
    assert await key.find("HS256", None) is None
    assert await key.find("EdDSA", "any") is key
    by = TokenVerifier(AnyKey(key), FakeClock())
    assert await refusal_of(forged({"alg": "HS256"}, CLAIMS, public.encode()), by) == INVALID


@pytest.mark.gen_test
async def test_a_key_that_the_token_itself_brings_along_is_not_believed() -> None:
    mine = rsa.generate_private_key(65537, 2048)
    jwk = jwt.get_algorithm_by_name("RS256").to_jwk(mine.public_key(), as_dict=True)
    token = token_of(None, mine, "RS256", jwk=jwk, jku="https://evil.example/keys.json")
    by = verifier(VerificationKey.from_pem(pem(rsa_key())))
    assert await refusal_of(token, by) == INVALID


@pytest.mark.parametrize(
    "secret",
    [
        "x" * 31,
        "ä" * 15,
        "",
        pem(ed25519.Ed25519PrivateKey.generate()),
        json.dumps({"kty": "oct", "k": "c2VjcmV0"}),
    ],
    ids=["31 bytes", "30 bytes", "empty", "a public key", "a JWK"],
)
def test_a_secret_that_is_short_or_a_key_of_another_kind_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        VerificationKey.from_secret(secret)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO" + "A" * 43,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        pem(rsa.generate_private_key(65537, 1024)),
        public_pem(rsa.RSAPublicNumbers(65537, 2**8192 + 1).public_key()),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ed448.Ed448PrivateKey.generate()),
    ],
    ids=["empty", "SSH", "no key", "RSA of 1,024 bits", "RSA of 8,193 bits", "P-384", "Ed448"],
)
def test_a_public_key_that_is_none_or_of_no_use_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        VerificationKey.from_pem(text)


def secret_jwk() -> dict[str, Any]:
    return {"kty": "oct", "k": base64url(SECRET.encode())}


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        "RSA",
        {},
        {"kty": "RSA"},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": base64url(b"x" * 32), "y": base64url(b"y" * 32)},
        {"kty": "OKP", "crv": "X25519", "x": base64url(b"x" * 32)},
        {"kty": ["RSA"]},
        secret_jwk(),
        secret_jwk() | {"alg": "HS256"},
        secret_jwk() | {"alg": "RS256"},
        public_jwk("RS256", use="enc"),
        public_jwk("RS256", use=None),
        public_jwk("RS256", alg="RS512"),
        public_jwk("RS256", alg="PS256"),
        public_jwk("RS256", alg="HS256"),
        public_jwk("RS256", alg=None),
        public_jwk("RS256", kid=5),
        public_jwk("ES256", crv="P-384"),
        public_jwk("ES256", alg="RS256"),
        jwt.get_algorithm_by_name("RS256").to_jwk(rsa_key(), as_dict=True),
        jwt.get_algorithm_by_name("ES256").to_jwk(ec_key(), as_dict=True),
        jwt.get_algorithm_by_name("EdDSA").to_jwk(ed_key(), as_dict=True),
        jwt.get_algorithm_by_name("RS256").to_jwk(
            rsa.generate_private_key(65537, 1024).public_key(), as_dict=True
        ),
    ],
)
def test_a_jwk_that_tokens_cannot_be_checked_with_is_passed_over(jwk: object) -> None:
    assert VerificationKey.from_jwk(jwk) is None


# Refusals


@pytest.mark.parametrize("token", [None, ""])
@pytest.mark.gen_test
async def test_no_token_is_a_missing_one(token: object) -> None:
    assert await refusal_of(token) == MISSING


DEEP = b'{"alg":' + b"[" * 2000 + b"]" * 2000 + b"}"
DEEP_CLAIMS = b'{"sub":"u1","exp":4000000000,"x":' + b"[" * 2000 + b"]" * 2000 + b"}"


@pytest.mark.parametrize(
    "token",
    [
        5,
        True,
        ["a.b.c"],
        {"token": token_of()},
        token_of().encode(),
        "a",
        "a.b",
        "a.b.c",
        "..",
        "é.b.c",
        "\ud800.b.c",
        token_of() + ".x",
        " " + token_of(),
        "Bearer " + token_of(),
        token_of()[:-1],
        token_of()[:-1] + ("A" if token_of()[-1] != "A" else "B"),
        token_of(None, "another-secret-another-secret-anoth"),
        forged(b"[]", CLAIMS),
        forged(b"nonsense", CLAIMS),
        forged(b"\xff", CLAIMS),
        forged({}, CLAIMS),
        forged({"alg": None}, CLAIMS),
        forged({"alg": ["HS256"]}, CLAIMS),
        forged({"alg": "HS256", "kid": 5}, CLAIMS),
        forged({"alg": "HS256", "kid": ["k"]}, CLAIMS),
        forged({"alg": "HS256", "crit": ["exp"]}, CLAIMS),
        forged({"alg": "HS256", "b64": False, "crit": ["b64"]}, CLAIMS),
        forged(DEEP, CLAIMS),
        forged({"alg": "HS256"}, DEEP_CLAIMS),
        forged({"alg": "HS256"}, []),
        forged({"alg": "HS256"}, "u1"),
        forged({"alg": "HS256"}, b"nonsense"),
        forged({"alg": "HS256"}, b"\xff"),
    ],
)
@pytest.mark.gen_test
async def test_what_is_no_token_of_ours_is_invalid(token: object) -> None:
    assert await refusal_of(token) == INVALID


def padded(length: int) -> str:
    """Return the first good token of at least so many bytes."""
    for filling in range(length):
        token = token_of({**CLAIMS, "x": "x" * (length // 2 + filling)})
        if len(token) >= length:
            return token
    raise AssertionError(length)


@pytest.mark.gen_test
async def test_a_token_over_8_kb_is_refused_before_anything_looks_into_it() -> None:
    keys = AnyKey(VerificationKey.from_secret(SECRET))
    by = TokenVerifier(keys, FakeClock())
    longest, too_long = padded(8192), padded(8193)
    assert len(longest) == 8192
    assert (await by.verify(longest)).user_id == "u1"
    assert await refusal_of(too_long, by) == INVALID
    assert await refusal_of(longest + "x" * 900_000, by) == INVALID
    assert len(keys.asked) == 1


@pytest.mark.parametrize(
    "token",
    [
        token_of() + "ä" * 5000,
        forged({"alg": 5}, CLAIMS),
        forged({"alg": "HS256", "kid": 5}, CLAIMS),
        forged({"alg": "HS256", "kid": ["k1"]}, CLAIMS),
    ],
)
@pytest.mark.gen_test
async def test_no_key_is_asked_for_with_what_cannot_be_a_token(token: str) -> None:
    keys = AnyKey(VerificationKey.from_secret(SECRET))
    assert await refusal_of(token, TokenVerifier(keys, FakeClock())) == INVALID
    assert keys.asked == []


@pytest.mark.gen_test
async def test_a_key_is_asked_for_by_algorithm_and_key_id() -> None:
    keys = AnyKey(VerificationKey.from_secret(SECRET))
    by = TokenVerifier(keys, FakeClock())
    await by.verify(token_of(kid="k1"))
    await by.verify(token_of())
    assert keys.asked == [("HS256", "k1"), ("HS256", None)]


class UnreachableKey:
    """A key source that cannot be asked."""

    async def find(self, algorithm: str, key_id: str | None) -> VerificationKey | None:
        raise Overloaded("later")


@pytest.mark.gen_test
async def test_a_token_whose_key_there_is_not_is_invalid() -> None:
    assert await refusal_of(token_of(), TokenVerifier(AnyKey(None), FakeClock())) == INVALID


@pytest.mark.gen_test
async def test_a_token_whose_key_cannot_be_had_now_may_be_tried_again() -> None:
    with pytest.raises(Overloaded) as caught:
        await TokenVerifier(UnreachableKey(), FakeClock()).verify(token_of())
    assert (caught.value.code, caught.value.retryable) == ("overloaded", True)


CAP = {"rooms": ["a"], "allow": ["join"]}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "u" * 200},
        {"exp": T + 1},
        {"exp": 253_370_764_800},
        {"rooms": []},
        {"rooms": ["r" * 200]},
        {"rooms": [f"r{number}" for number in range(128)]},
        {"rooms": ["users:u1", "*"]},
        {"caps": []},
        {"caps": [CAP] * 64},
        {"caps": [{"rooms": ["a"] * 64, "allow": ["join"]}]},
        {"caps": [{"rooms": ["user:*"], "allow": ["join", "publish", "history", "presence"]}]},
        {"info": {}},
        {"info": {"x": "x" * 2040}},
        {"info": nested(8)},
        {"nbf": T + 5, "iat": T + 5},
        {"nbf": T - 5.5, "iat": 0},
        {"aud": "anybody", "iss": ["any", "thing"]},
    ],
)
@pytest.mark.gen_test
async def test_claims_are_accepted_up_to_their_limits(claims: dict[str, Any]) -> None:
    identity = await verifier().verify(forged({"alg": "HS256"}, CLAIMS | claims))
    assert identity.user_id == claims.get("sub", "u1")


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ""},
        {"sub": "u" * 201},
        {"sub": "u\x00"},
        {"sub": "u\n1"},
        {"sub": 5},
        {"sub": None},
        {"sub": ["u1"]},
        {"exp": None},
        {"exp": str(T + 60)},
        {"exp": True},
        {"exp": [T + 60]},
        {"exp": -1},
        {"exp": 253_370_764_801},
        {"exp": 1e300},
        {"exp": 10**30},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"rooms": None},
        {"rooms": "sales"},
        {"rooms": {"sales": True}},
        {"rooms": [""]},
        {"rooms": ["r" * 201]},
        {"rooms": ["a\x00"]},
        {"rooms": [5]},
        {"rooms": [None]},
        {"rooms": ["sales", "user:u1"]},
        {"rooms": ["user:u2"]},
        {"rooms": ["user:"]},
        {"rooms": [f"r{number}" for number in range(129)]},
        {"caps": None},
        {"caps": {}},
        {"caps": CAP},
        {"caps": ["*"]},
        {"caps": [None]},
        {"caps": [CAP] * 65},
        {"caps": [{"rooms": ["a"]}]},
        {"caps": [{"allow": ["join"]}]},
        {"caps": [{"rooms": [], "allow": ["join"]}]},
        {"caps": [{"rooms": ["a"], "allow": []}]},
        {"caps": [{"rooms": "a", "allow": ["join"]}]},
        {"caps": [{"rooms": ["a"], "allow": "join"}]},
        {"caps": [{"rooms": ["a"], "allow": ["admin"]}]},
        {"caps": [{"rooms": ["a"], "allow": ["Join"]}]},
        {"caps": [{"rooms": ["a"], "allow": [["join"]]}]},
        {"caps": [{"rooms": ["a"], "allow": ["join"] * 5}]},
        {"caps": [{"rooms": [""], "allow": ["join"]}]},
        {"caps": [{"rooms": ["a"] * 65, "allow": ["join"]}]},
        {"caps": [{"rooms": ["r" * 201], "allow": ["join"]}]},
        {"caps": [{"rooms": ["a"], "allow": ["join"], "deny": ["publish"]}]},
        {"info": None},
        {"info": "Ann"},
        {"info": []},
        {"info": {"x": "x" * 2041}},
        {"info": {"x": "ä" * 1021}},
        {"info": nested(9)},
        {"nbf": T + 7},
        {"iat": T + 7},
        {"nbf": str(T)},
        {"iat": str(T)},
        {"iat": None},
    ],
)
@pytest.mark.gen_test
async def test_claims_beyond_their_limits_are_invalid(claims: dict[str, Any]) -> None:
    assert await refusal_of(forged({"alg": "HS256"}, CLAIMS | claims)) == INVALID


@pytest.mark.parametrize("claim", ["sub", "exp"])
@pytest.mark.gen_test
async def test_the_user_and_the_end_are_required(claim: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != claim}
    assert await refusal_of(token_of(claims)) == INVALID


@pytest.mark.parametrize("after", [0, 1, 10_000_000])
@pytest.mark.gen_test
async def test_a_token_is_expired_from_its_end_on(after: int) -> None:
    clock = FakeClock()
    by = TokenVerifier(VerificationKey.from_secret(SECRET), clock)
    token = token_of({"sub": "u1", "exp": T + 60})
    clock.advance(59.0 - NOW.microsecond / 1e6)
    assert (await by.verify(token)).user_id == "u1"
    clock.advance(1 + after)
    assert await refusal_of(token, by) == EXPIRED


@pytest.mark.parametrize(
    "token",
    [
        token_of({"sub": "u1", "exp": T - 1}, "another-secret-another-secret-anoth"),
        token_of({"sub": "", "exp": T - 1}),
        token_of({"sub": "u1", "exp": T - 1, "aud": "b"}),
        token_of({"sub": "u1", "exp": T - 1, "aud": "a", "iss": "j"}),
    ],
)
@pytest.mark.gen_test
async def test_only_a_token_that_was_good_is_said_to_be_expired(token: str) -> None:
    assert await refusal_of(token, verifier(audience="a", issuer="i")) == INVALID


@pytest.mark.parametrize("audience", ["crm", ["other", "crm"]])
@pytest.mark.gen_test
async def test_a_token_for_the_configured_audience_passes(audience: object) -> None:
    token = token_of({**CLAIMS, "aud": audience})
    assert (await verifier(audience="crm").verify(token)).user_id == "u1"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": "cr"},
        {"aud": "crm2"},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": {"crm": 1}},
        {"aud": None},
    ],
)
@pytest.mark.gen_test
async def test_a_token_for_another_audience_or_none_is_invalid(claims: dict[str, Any]) -> None:
    assert await refusal_of(token_of(CLAIMS | claims), verifier(audience="crm")) == INVALID


@pytest.mark.gen_test
async def test_a_token_of_the_configured_issuer_passes() -> None:
    token = token_of({**CLAIMS, "iss": "https://id.example"})
    assert (await verifier(issuer="https://id.example").verify(token)).user_id == "u1"


@pytest.mark.parametrize(
    "claims", [{}, {"iss": "https://id.example/"}, {"iss": ["https://id.example"]}]
)
@pytest.mark.gen_test
async def test_a_token_of_another_issuer_or_none_is_invalid(claims: dict[str, Any]) -> None:
    by = verifier(issuer="https://id.example")
    assert await refusal_of(forged({"alg": "HS256"}, CLAIMS | claims), by) == INVALID


# Nothing leaks


@pytest.mark.gen_test
async def test_nothing_of_a_token_or_a_key_is_logged_or_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    by = verifier(audience="crm")
    claims = CLAIMS | {"sub": "needle-user", "rooms": ["needle-room"], "info": {"a": "needle-info"}}
    good = token_of(claims | {"aud": "crm"})
    identity = await by.verify(good)
    for token in (
        good[:-4] + "AAAA",
        token_of(claims),
        token_of(claims | {"aud": "crm", "exp": 1}),
    ):
        with pytest.raises(RealtimeError) as caught:
            await by.verify(token)
        assert "needle" not in str(caught.value.as_dict())
        assert caught.value.__cause__ is None
    shown = [repr(identity), repr(by), repr(VerificationKey.from_secret(SECRET)), caplog.text]
    assert not [text for text in shown if "needle" in text or SECRET in text or "s3cret" in text]


# When a token ends


@pytest.mark.parametrize(
    ("left", "warn_in", "close_in"),
    [
        (3600.0, 3570.0, 3625.0),
        (30.5, 0.5, 55.5),
        (30.0, 0.0, 55.0),
        (29.0, 0.0, 54.0),
        (0.0, 0.0, 25.0),
        (-24.5, 0.0, 0.5),
        (-25.0, 0.0, 0.0),
        (-3600.0, 0.0, 0.0),
    ],
)
def test_a_client_is_warned_30_seconds_before_the_end_and_closed_25_after(
    left: float, warn_in: float, close_in: float
) -> None:
    expires_at = NOW + timedelta(seconds=left)
    assert expiry_times(expires_at, NOW) == ExpiryTimes(warn_in=warn_in, close_in=close_in)


@pytest.mark.gen_test
async def test_the_latest_end_that_is_accepted_can_be_reckoned_with() -> None:
    identity = await verifier().verify(token_of({"sub": "u1", "exp": 253_370_764_800}))
    assert expiry_times(identity.expires_at, NOW).close_in > 1e11


# The documentation


INTERPRETERS = {"js": "node", "python": sys.executable, "php": "php"}
php = requires_binary("php", package="php-cli")


def documented(language: str) -> str:
    """Return the program in the documentation that makes a token."""
    text = SECURITY_PAGE.read_text(encoding="utf-8")
    return text.partition(f"\n```{language}\n")[2].partition("\n```\n")[0] + "\n"


@pytest.mark.parametrize("language", INTERPRETERS)
@pytest.mark.gen_test
async def test_the_documented_programs_make_tokens_that_are_accepted(
    language: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if language != "python":
        request.getfixturevalue(INTERPRETERS[language])
    program = tmp_path / f"token.{'mjs' if language == 'js' else language}"
    program.write_text(documented(language), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        INTERPRETERS[language],
        str(program),
        env={**os.environ, "GTOWER_JWT_SECRET": SECRET * 2},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    by = TokenVerifier(VerificationKey.from_secret(SECRET * 2), SystemClock())
    identity = await by.verify(output.decode().strip())
    assert identity.user_id == "agent-7"
    assert identity.rooms == ("whatsapp:general",)
    assert identity.caps == (
        Cap(("whatsapp:customer:*",), frozenset({"join", "history", "presence"})),
    )
    assert identity.info == {"name": "Ana"}

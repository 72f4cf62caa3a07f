"""Who a client is: its token (JWT, RFC 7519), the keys that check one, and when it ends.

Knows no connection and reads nothing from outside; `key_sets` fetches keys. Nothing of a token, nor
of a key, is ever in a message, a log line or a ``repr``.
"""

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, post_load, validate

from gtower_realtime import strict_json
from gtower_realtime.errors import InvalidToken, MissingToken, TokenExpired
from gtower_realtime.names import MAX_ROOM_NAME, is_user_room
from gtower_realtime.permissions import RIGHTS, Cap
from gtower_realtime.ports import Clock
from gtower_realtime.schemas import Name

SECRET_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
PUBLIC_KEY_ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})

MAX_TOKEN_BYTES = 8192
MAX_TOKEN_ROOMS = 128
MAX_CAPS = 64
MAX_CAP_ROOMS = 64
MAX_INFO_BYTES = 2048
MAX_INFO_DEPTH = 8

LEEWAY = timedelta(seconds=5)
"""How far the issuer's clock may be ahead of ours. A token's end is never put off."""

WARN_BEFORE = timedelta(seconds=30)
CLOSE_AFTER = timedelta(seconds=25)

_MIN_SECRET_BYTES = 32
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MAX_HEADER_DEPTH = 4
_SHA256_BLOCK_BYTES = 64

# A year before the last that there is, so that times around it can be reckoned with.
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Who a client is and what it may, as its token says."""

    user_id: str
    rooms: tuple[str, ...]
    """Rooms to join at connect, each once; at most 128, and none of ``user:…``."""
    caps: tuple[Cap, ...]
    info: Mapping[str, Any] | None
    """What presence shows of the client: a JSON object of at most 2,048 bytes and 8 levels."""
    expires_at: datetime
    """Aware, in UTC."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key that tokens are checked with, tied to the algorithms it is for. A `KeySource` of one.

    So a public key, which anybody may have, is never taken for the secret of HS256.
    """

    algorithms: frozenset[str]
    material: Any = field(repr=False)
    key_id: str | None = None

    @classmethod
    def from_secret(cls, secret: str) -> "VerificationKey":
        """Return the key of HS256, HS384 and HS512.

        Raises:
            ValueError: it is shorter than 32 bytes, or is a key of another kind, as in PEM.
        """
        material = secret.encode()
        if len(material) < _MIN_SECRET_BYTES:
            raise ValueError(f"must have at least {_MIN_SECRET_BYTES} bytes")
        try:
            jwt.get_algorithm_by_name("HS256").prepare_key(material)
        except jwt.InvalidKeyError:
            raise ValueError("must be a secret, not a public key, certificate or JWK") from None
        # HMAC itself fills a key with zeros up to a block (RFC 2104, 2), so this one is the same;
        # PyJWT would warn of a shorter one at each token of HS384 and HS512.
        return cls(SECRET_ALGORITHMS, material.ljust(_SHA256_BLOCK_BYTES, b"\0"))

    @classmethod
    def from_pem(cls, pem: str) -> "VerificationKey":
        """Return the key of RS256, ES256 or EdDSA, whichever the public key is for.

        Raises:
            ValueError: it is no public key in PEM, or of a kind or size that is not accepted.
        """
        try:
            material = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("must be a public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
        algorithm = _algorithm_of(material)
        if algorithm is None:
            raise ValueError(
                f"must be an RSA key of {_MIN_RSA_BITS} to {_MAX_RSA_BITS} bits, "
                "a P-256 key or an Ed25519 key"
            )
        return cls(frozenset({algorithm}), material)

    @classmethod
    def from_jwk(cls, jwk: object) -> "VerificationKey | None":
        """Return the key in a JSON Web Key (RFC 7517); None for one that tokens are not checked by.

        Such are secrets and private keys, which must not be published, keys for encryption, and
        other algorithms, kinds and sizes than :meth:`from_pem` takes.
        """
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
            return None
        kind, key_id = jwk.get("kty"), jwk.get("kid")
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}.get(str(kind))
        if algorithm is None or not isinstance(key_id, str | None):
            return None
        if jwk.get("alg", algorithm) != algorithm:
            return None
        try:
            material = jwt.PyJWK(jwk, algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return cls(frozenset({algorithm}), material, key_id) if _algorithm_of(material) else None

    async def find(self, algorithm: str, key_id: str | None) -> "VerificationKey | None":
        """Return this key for its algorithms, whatever ``key_id`` is."""
        return self if algorithm in self.algorithms else None


def _algorithm_of(material: object) -> str | None:
    if isinstance(material, RSAPublicKey):
        return "RS256" if _MIN_RSA_BITS <= material.key_size <= _MAX_RSA_BITS else None
    if isinstance(material, EllipticCurvePublicKey):
        return "ES256" if isinstance(material.curve, SECP256R1) else None
    return "EdDSA" if isinstance(material, Ed25519PublicKey) else None


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """Return a token of HS256 for trying things out; back-ends make theirs by themselves.

    Raises:
        ValueError: the secret is too short or of another kind, or a claim is not as it must be.
    """
    key = VerificationKey.from_secret(secret)
    try:
        _CLAIMS.load(dict(claims))
    except ValidationError as problem:
        raise ValueError(str(problem)) from None
    return jwt.encode(dict(claims), key.material, algorithm="HS256")


class KeySource(Protocol):
    """Where the keys are that tokens are checked with."""

    async def find(self, algorithm: str, key_id: str | None) -> VerificationKey | None:
        """Return the key for tokens of ``algorithm`` that name ``key_id``; None if there is none.

        Both come from a token that nobody has checked yet.

        Raises:
            Overloaded: whether there is one cannot be known at the moment.
        """


class TokenVerifier:
    """Decides whether a token is good.

    ``audience`` and ``issuer`` are what tokens must name in ``aud`` and ``iss``; None accepts any.
    """

    def __init__(
        self,
        keys: KeySource,
        clock: Clock,
        *,
        audience: str | None = None,
        issuer: str | None = None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._audience = audience
        self._issuer = issuer
        self._jws = jwt.PyJWS()

    async def verify(self, token: object) -> Identity:
        """Return whom ``token``, as a client sent it, identifies.

        Only who holds a token with a good signature learns more than that it is not valid: that it
        has expired.

        Raises:
            MissingToken: it is None or empty.
            InvalidToken: it is not a token of at most 8 KB, signed by our key, for us, and with
                claims as they must be.
            TokenExpired: it is all that, and its time is over.
            Overloaded: the keys cannot be had at the moment; the token may be good.
        """
        if token is None or token == "":
            raise MissingToken("A token is needed; connect with auth: {token}.")
        # The length first: all else takes time in proportion to it.
        if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise _invalid()
        algorithm, key_id = _read_header(token)
        key = await self._keys.find(algorithm, key_id)
        if key is None:
            raise _invalid()
        claims = self._read_claims(token, key)
        self._check_whom_it_is_for(claims)
        self._check_time(claims)
        return Identity(
            user_id=claims["sub"],
            rooms=tuple(dict.fromkeys(claims["rooms"])),
            caps=tuple(claims["caps"]),
            info=claims.get("info"),
            expires_at=claims["exp"],
        )

    def _read_claims(self, token: str, key: VerificationKey) -> dict[str, Any]:
        try:
            signed = self._jws.decode(token, key.material, algorithms=list(key.algorithms))
            claims: dict[str, Any] = _CLAIMS.load(strict_json.loads(signed))
        except (jwt.PyJWTError, ValidationError, ValueError):
            raise _invalid() from None
        return claims

    def _check_whom_it_is_for(self, claims: Mapping[str, Any]) -> None:
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise _invalid()
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if self._audience is not None and self._audience not in named:
            raise _invalid()

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        # RFC 7519, 4.1.4 to 4.1.6.
        if any(claim in claims and claims[claim] > now + LEEWAY for claim in ("nbf", "iat")):
            raise _invalid()
        if claims["exp"] <= now:
            raise TokenExpired("The token has expired; get a new one.")


@dataclass(frozen=True, slots=True)
class ExpiryTimes:
    """What is to be done about the end of a token, in seconds from now."""

    warn_in: float
    """When to send `tokenExpiring`; 0.0 is at once."""
    close_in: float
    """When to close the connection with 4202, if no other token came; 0.0 is at once."""


def expiry_times(expires_at: datetime, now: datetime) -> ExpiryTimes:
    """Return when to act on a token that ends at ``expires_at``: 30 s before, and 25 s after."""
    left = expires_at - now
    return ExpiryTimes(
        warn_in=max(0.0, (left - WARN_BEFORE).total_seconds()),
        close_in=max(0.0, (left + CLOSE_AFTER).total_seconds()),
    )


def _invalid() -> InvalidToken:
    # One sentence for all: which part failed would help only who forges tokens.
    return InvalidToken("The token is not valid here; get another one.")


def _read_header(token: str) -> tuple[str, str | None]:
    """Return the algorithm and the key id that a token names, before anything is checked."""
    segment = token.partition(".")[0]
    try:
        # Not by PyJWT: releases before 2.15 let deep nesting overflow.
        encoded = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        header = strict_json.loads(encoded, _MAX_HEADER_DEPTH)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    if not isinstance(header, dict):
        raise _invalid()
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        raise _invalid()
    return algorithm, key_id


class _NumericDate(fields.Field[datetime]):
    """Seconds since 1970 (RFC 7519, 2), with a fraction or without."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> datetime:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Not a number.")
        if not 0 <= value <= _LATEST:
            raise ValidationError("Not a time.")
        return datetime.fromtimestamp(value, UTC)


class _Info(fields.Field[dict[str, Any]]):
    """A small JSON object."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("Must be a JSON object.")
        try:
            strict_json.check(value, MAX_INFO_DEPTH)
        except ValueError as problem:
            raise ValidationError(str(problem)) from None
        if len(strict_json.dumps(value).encode()) > MAX_INFO_BYTES:
            raise ValidationError(f"Must have at most {MAX_INFO_BYTES} bytes.")
        return value


def _check_not_a_user_room(room: str) -> None:
    if is_user_room(room):
        raise ValidationError("Belongs to the server.")


class _CapSchema(Schema):
    """One of ``caps``. Closed: a misspelt key would grant less, or more, than was meant."""

    class Meta:
        unknown = RAISE

    rooms = fields.List(Name(), required=True, validate=validate.Length(1, MAX_CAP_ROOMS))
    allow = fields.List(
        fields.String(validate=validate.OneOf(RIGHTS)),
        required=True,
        validate=validate.Length(1, len(RIGHTS)),
    )

    @post_load
    def _make_cap(self, grant: dict[str, Any], **_: Any) -> Cap:
        return Cap(tuple(grant["rooms"]), frozenset(grant["allow"]))


class _ClaimsSchema(Schema):
    """The claims that mean something here; a token may have others (RFC 7519, 4)."""

    class Meta:
        unknown = EXCLUDE

    sub = Name(longest=MAX_ROOM_NAME, required=True)
    exp = _NumericDate(required=True)
    nbf = _NumericDate()
    iat = _NumericDate()
    iss = fields.Raw()
    aud = fields.Raw()
    rooms = fields.List(
        Name(validate=_check_not_a_user_room),
        load_default=(),
        validate=validate.Length(max=MAX_TOKEN_ROOMS),
    )
    caps = fields.List(
        fields.Nested(_CapSchema), load_default=(), validate=validate.Length(max=MAX_CAPS)
    )
    info = _Info()


_CLAIMS = _ClaimsSchema()

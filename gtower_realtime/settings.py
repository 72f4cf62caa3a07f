"""What an operator can set: one row per setting, read from environment variables.

The row's name in capitals after ``GTOWER_`` is the variable's name. The command line, the
``settings`` command and the README's table are made of the rows. Example row:

    connect_timeout: float = _setting(
        "20", parse.seconds(), "Time that a new connection has for its CONNECT", unit="seconds"
    )
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from gtower_realtime import setting_file
from gtower_realtime import setting_values as parse
from gtower_realtime.limits import Rate
from gtower_realtime.setting_values import ApiKey

__all__ = [
    "MASK",
    "ApiKey",
    "EffectiveSetting",
    "SettingRow",
    "Settings",
    "SettingsError",
    "effective",
    "rows",
]

PREFIX = "GTOWER_"
_FILE_SUFFIX = "_FILE"
_SETTINGS_FILE = "GTOWER_SETTINGS_FILE"
_ROW = "row"
_LONGEST_SHOWN = 80

_STATE = "<state dir>"
_SYSTEMD_STATE = "STATE_DIRECTORY"
_SYSTEMD_CREDENTIALS = "CREDENTIALS_DIRECTORY"


class SettingsError(Exception):
    """The server cannot start with these settings: ``problems`` has one line for each reason.

    ``warnings`` is what was found strange besides, which may be the cause.
    """

    def __init__(self, problems: Iterable[str], warnings: Iterable[str] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(self.problems))


class SettingRow(NamedTuple):
    """One setting as documentation shows it."""

    name: str
    """The environment variable."""
    default: str
    """As it would be written in the environment, ``<state dir>`` standing for that of `state_dir`;
    ``none`` when there is none."""
    unit: str
    """What a number counts; empty for other values."""
    documentation: str
    """One line."""
    is_secret: bool
    """Whether ``<name>_FILE`` and systemd credentials work, and the value is never shown."""
    also: str | None
    """Another variable that counts while ``name`` is not set."""
    reloads: bool
    """Whether a reload (SIGHUP) reads it anew; else it takes a restart."""


@dataclass(frozen=True, slots=True)
class _Row:
    parser: Callable[[str], Any]
    documentation: str
    unit: str
    is_secret: bool
    also: str | None
    shown_default: str
    reloads: bool


def _setting(
    default: str | None,
    parser: Callable[[str], Any],
    documentation: str,
    *,
    unit: str = "",
    is_secret: bool = False,
    also: str | None = None,
    shown_default: str | None = None,
    reloads: bool = False,
) -> Any:
    """Declare a row. ``default`` is parsed like any text; ``also`` is another variable's name.

    ``reloads`` takes that `Application.reload` sees to it.
    ``shown_default`` says in the documentation what is made of other settings while it is unset.
    """
    shown = shown_default or default or "none"
    return field(
        default=None if default is None else parser(default),
        repr=not is_secret,
        metadata={_ROW: _Row(parser, documentation, unit, is_secret, also, shown, reloads)},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, checked. 0 in a limit or rate means that there is none."""

    host: str = _setting(
        "localhost", parse.host, "Where to listen: a host name, an IP address, or unix:/path"
    )
    port: int = _setting(
        "3000", parse.whole(0, 65_535), "TCP port to listen on; 0 takes a free one", also="PORT"
    )
    cors_origin: tuple[str, ...] = _setting(
        "*",
        parse.origins,
        "Web pages that may connect: *, or a list of origins like https://*.example.com",
        also="CORS_ORIGIN",
        reloads=True,
    )
    namespaces: tuple[str, ...] = _setting(
        "/", parse.namespaces, "Socket.IO namespaces that are served, as one bus"
    )
    state_dir: Path = _setting(
        "./var", parse.path, "Directory for what must outlive the process", also=_SYSTEMD_STATE
    )
    database_url: str | None = _setting(
        None,
        parse.database_url,
        "Where events are stored: sqlite:///path, postgresql://… or memory:",
        is_secret=True,
        shown_default=f"sqlite:///{_STATE}/gtower.db",
    )
    synchronous: str = _setting(
        "normal",
        parse.choice("normal", "full"),
        "full: a stored event survives a power cut as well",
    )
    redis_url: str | None = _setting(
        None,
        parse.redis_url,
        "Redis that joins several processes into one server",
        is_secret=True,
    )
    api_keys: tuple[ApiKey, ...] = _setting(
        "",
        parse.api_keys,
        "Keys of back-ends: list of name:scope+scope:key[:prefix|prefix]",
        is_secret=True,
        reloads=True,
    )
    auth: str | None = _setting(
        None,
        parse.choice("off", "required"),
        "off or required: whether clients need a token; unset: once a key for tokens is set",
    )
    jwt_secret: str | None = _setting(
        None,
        parse.jwt_secret,
        "Secret that clients' tokens are signed with (HS256 …)",
        is_secret=True,
        reloads=True,
    )
    jwt_public_key: str | None = _setting(
        None,
        parse.public_key,
        "Public key that checks clients' tokens, in PEM",
        is_secret=True,
        reloads=True,
    )
    jwt_jwks_url: str | None = _setting(
        None,
        parse.key_set_url,
        "Where the public keys that check clients' tokens are published",
        reloads=True,
    )
    jwt_audience: str | None = _setting(
        None, parse.words, "Audience (aud) that a token must name", reloads=True
    )
    jwt_issuer: str | None = _setting(
        None, parse.words, "Issuer (iss) that a token must name", reloads=True
    )
    insecure: bool = _setting(
        "false", parse.boolean, "true: serve other machines although no API key is set"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "",
        parse.list_of(parse.proxy),
        "Proxies whose X-Forwarded-For counts: addresses, networks, or unix",
        reloads=True,
    )
    recovery_seconds: float = _setting(
        "120", parse.seconds(), "How long a client that was cut off can come back", unit="seconds"
    )
    log_max_events: int = _setting(
        "1000000", parse.whole(), "Events that the log of events keeps", unit="events", reloads=True
    )
    log_max_bytes: int = _setting(
        "1073741824",
        parse.whole(),
        "Size that the log of events may have",
        unit="bytes",
        reloads=True,
    )
    log_max_age_seconds: float = _setting(
        "2592000",
        parse.seconds(),
        "How long the log of events keeps one",
        unit="seconds",
        reloads=True,
    )
    presence_rooms: tuple[str, ...] = _setting(
        "",
        parse.list_of(parse.room_prefix),
        "Rooms that tell who is in them: list of prefixes of their names",
    )
    announce_clients: bool = _setting(
        "true", parse.boolean, "Whether clientJoined and clientLeft are sent; false for thousands"
    )
    ping_interval: float = _setting(
        "25",
        parse.seconds(0.01, 86_400),
        "Time between two pings of a connection",
        unit="seconds",
        reloads=True,
    )
    ping_timeout: float = _setting(
        "20",
        parse.seconds(0.01, 86_400),
        "Time that a client has to answer a ping",
        unit="seconds",
        reloads=True,
    )
    log_level: str = _setting(
        "info",
        parse.choice("debug", "info", "warning", "error", "critical"),
        "Least grave messages that are logged",
    )
    log_format: str = _setting("text", parse.choice("text", "json"), "How messages are logged")
    whatsapp_app_secret: tuple[str, ...] = _setting(
        "",
        parse.list_of(parse.words),
        "App secrets that sign the WhatsApp webhook's bodies",
        is_secret=True,
    )
    whatsapp_verify_token: str | None = _setting(
        None, parse.words, "Token of the WhatsApp webhook's handshake", is_secret=True
    )
    whatsapp_resolver_url: str | None = _setting(
        None, parse.url("http", "https"), "Where the customer of a WhatsApp number is asked for"
    )
    max_message_bytes: int = _setting(
        "1000000", parse.whole(), "Longest message of a client", unit="bytes", reloads=True
    )
    max_body_bytes: int = _setting(
        "10485760", parse.whole(), "Longest body of a request", unit="bytes", reloads=True
    )
    connect_timeout: float = _setting(
        "20",
        parse.seconds(),
        "Time that a new connection has for its CONNECT",
        unit="seconds",
        reloads=True,
    )
    max_client_buffer_bytes: int = _setting(
        "1000000",
        parse.whole(),
        "What may wait for a client that reads slowly",
        unit="bytes",
        reloads=True,
    )
    max_connections: int = _setting(
        "10000", parse.whole(), "Connections at the same time", unit="connections", reloads=True
    )
    max_connections_per_address: int = _setting(
        "1000",
        parse.whole(),
        "Connections at the same time from one address",
        unit="connections",
        reloads=True,
    )
    rate_connects: Rate = _setting(
        "50/500",
        Rate.parse,
        "New connections from one address",
        unit="per second/burst",
        reloads=True,
    )
    max_rooms_per_client: int = _setting(
        "128", parse.whole(), "Rooms that a client may be in", unit="rooms", reloads=True
    )
    rate_events: Rate = _setting(
        "50/200", Rate.parse, "Events of one client", unit="per second/burst", reloads=True
    )
    rate_broadcasts: Rate = _setting(
        "20/200",
        Rate.parse,
        "Messages of one client to all others",
        unit="per second/burst",
        reloads=True,
    )
    rate_joins: Rate = _setting(
        "20/100",
        Rate.parse,
        "Rooms that one client joins, leaves or reads the history of",
        unit="per second/burst",
        reloads=True,
    )
    rate_api: Rate = _setting(
        "500/1000", Rate.parse, "Requests with one API key", unit="per second/burst", reloads=True
    )
    drain_seconds: float = _setting(
        "10",
        parse.seconds(),
        "Time over which clients are let go at the end",
        unit="seconds",
        reloads=True,
    )
    handler_timeout: float = _setting(
        "10", parse.seconds(), "Longest that the server works on one event", unit="seconds"
    )
    settings_file: Path | None = _setting(
        None, parse.path, "File with more settings, a line NAME=value each; the environment wins"
    )

    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What :meth:`load` found strange and went on with, one line each."""

    @property
    def store_url(self) -> str:
        """Where events are stored, said in full."""
        return self.database_url or f"sqlite:///{self.state_dir / 'gtower.db'}"

    @property
    def unix_socket(self) -> Path | None:
        """The socket's path when the server listens on a unix socket."""
        if self.host.startswith(parse.UNIX_PREFIX):
            return Path(self.host.removeprefix(parse.UNIX_PREFIX))
        return None

    @property
    def has_token_key(self) -> bool:
        """Whether there is a key that clients' tokens are checked with."""
        return any((self.jwt_secret, self.jwt_public_key, self.jwt_jwks_url))

    @property
    def requires_tokens(self) -> bool:
        """Whether a client without a token is refused."""
        return self.auth == "required" or (self.auth is None and self.has_token_key)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; an empty one counts as not set.

        Raises:
            SettingsError: with everything that is wrong, not only the first.
        """
        values: dict[str, Any] = {}
        wrong: set[str] = set()
        environ, problems, warnings = _with_settings_file(environ)
        for name, row in _ROWS.items():
            variable, text = _variable(name), ""
            try:
                variable, text = _find(environ, name, row)
                if text:
                    values[name] = row.parser(text)
            except ValueError as problem:
                wrong.add(name)
                shown = "" if row.is_secret or not text else f"={text[:_LONGEST_SHOWN]!r}"
                problems += [f"{variable}{shown}: {reason}" for reason in problem.args]
        warnings += _warnings_about_names(environ)
        settings = cls(**values, warnings=tuple(warnings))
        problems += settings._broken_rules(wrong)
        if problems:
            raise SettingsError(problems, settings.warnings)
        return settings

    def reloaded(self, environ: Mapping[str, str]) -> "Settings":
        """Return these settings with those that a reload may change read anew.

        ``environ`` is that of :meth:`load`; what is new is in the files that it names. Among the
        warnings is what has changed there and takes a restart.

        Raises:
            SettingsError: something of it is wrong, and nothing should change.
        """
        read = Settings.load(environ)
        anew = {name: getattr(read, name) for name, row in _ROWS.items() if row.reloads}
        put_off = [
            f"{_variable(name)} has changed, which takes a restart"
            for name in _ROWS
            if name not in anew and getattr(read, name) != getattr(self, name)
        ]
        settings = replace(self, **anew, warnings=(*read.warnings, *put_off))
        problems = settings._broken_rules()
        if settings.requires_tokens != self.requires_tokens:
            problems.append("GTOWER_AUTH: whether clients need tokens changes only with a restart")
        if problems:
            raise SettingsError(problems, settings.warnings)
        return settings

    def _broken_rules(self, unreadable: Collection[str] = ()) -> list[str]:
        return [
            f"{_variable(rule.settings[0])}: {rule.sentence}"
            for rule in _RULES
            if not set(rule.settings).intersection(unreadable) and rule.is_broken(self)
        ]


_ROWS: dict[str, _Row] = {
    row.name: row.metadata[_ROW] for row in fields(Settings) if _ROW in row.metadata
}


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def rows() -> list[SettingRow]:
    """Return all settings for documentation, in the order in which they are declared."""
    return [
        SettingRow(
            name=_variable(name),
            default=row.shown_default,
            unit=row.unit,
            documentation=row.documentation,
            is_secret=row.is_secret,
            also=row.also,
            reloads=row.reloads,
        )
        for name, row in _ROWS.items()
    ]


class EffectiveSetting(NamedTuple):
    """What one setting is, and who says so."""

    name: str
    """The environment variable."""
    value: str
    """As it is written; :data:`MASK` for a secret, empty for one that is not set."""
    source: str
    """``default``, ``environment``, ``settings file``, ``file`` or ``credential``."""
    place: str
    """The variable that counts, or the path of the file; empty for a default."""


MASK = "***"
"""What stands for a secret's value wherever settings are shown."""


def effective(environ: Mapping[str, str]) -> list[EffectiveSetting]:
    """Return each setting as :meth:`Settings.load` finds it, whether it is right or wrong."""
    # What is wrong with the file is no matter here.
    merged, _, _ = _with_settings_file(environ)
    found = {name: _effective(environ, merged, name, row) for name, row in _ROWS.items()}
    state = found["state_dir"].value
    return [each._replace(value=each.value.replace(_STATE, state)) for each in found.values()]


def _effective(
    environ: Mapping[str, str], merged: Mapping[str, str], name: str, row: _Row
) -> EffectiveSetting:
    source, place = _source(merged, name, row)
    if source == "default":
        value = "" if row.shown_default == "none" else row.shown_default
    elif row.is_secret:
        value = MASK
    else:
        value = _text_of(merged, place).strip().encode(errors="replace").decode()
    if source == "environment" and not environ.get(place, "").strip():
        source, place = "settings file", environ[_SETTINGS_FILE].strip()
    return EffectiveSetting(_variable(name), value, source, place)


class _Rule(NamedTuple):
    """What must hold between settings. It is not asked while one of them cannot be read."""

    settings: tuple[str, ...]
    is_broken: Callable[[Settings], bool]
    sentence: str


_RULES = (
    _Rule(
        ("host", "api_keys", "insecure"),
        lambda s: not (parse.is_local_host(s.host) or s.api_keys or s.insecure),
        "other machines can reach this address and no API key is set: set GTOWER_API_KEYS, "
        "or GTOWER_INSECURE=true to serve everybody",
    ),
    _Rule(
        ("jwt_secret", "jwt_public_key", "jwt_jwks_url"),
        lambda s: bool(s.jwt_secret and (s.jwt_public_key or s.jwt_jwks_url)),
        "a secret and a public key cannot both check tokens: set one of them",
    ),
    _Rule(
        ("auth", "jwt_secret", "jwt_public_key", "jwt_jwks_url"),
        lambda s: s.auth == "required" and not s.has_token_key,
        "to require tokens takes GTOWER_JWT_SECRET, GTOWER_JWT_PUBLIC_KEY or GTOWER_JWT_JWKS_URL",
    ),
    _Rule(
        ("whatsapp_app_secret", "whatsapp_verify_token"),
        lambda s: bool(s.whatsapp_app_secret and not s.whatsapp_verify_token),
        "the webhook takes GTOWER_WHATSAPP_VERIFY_TOKEN too: set both, or none",
    ),
    _Rule(
        ("whatsapp_verify_token", "whatsapp_app_secret"),
        lambda s: bool(s.whatsapp_verify_token and not s.whatsapp_app_secret),
        "the webhook takes GTOWER_WHATSAPP_APP_SECRET too: set both, or none",
    ),
)


def _with_settings_file(
    environ: Mapping[str, str],
) -> tuple[Mapping[str, str], list[str], list[str]]:
    """Return ``environ`` with what the settings file adds; also the problems and warnings."""
    path = environ.get(_SETTINGS_FILE, "").strip()
    if not path:
        return environ, [], []
    try:
        values, problems = setting_file.parse(_read(Path(path), may_be_empty=True))
    except ValueError as problem:
        return environ, [f"{_SETTINGS_FILE}: {reason}" for reason in problem.args], []
    known = {row.also for row in _ROWS.values()} - {_SYSTEMD_STATE}
    strange = [name for name in values if not name.startswith(PREFIX) and name not in known]
    if _SETTINGS_FILE in values:
        problems.append(f"{_SETTINGS_FILE} cannot be set there")
    return (
        {
            **{name: value for name, value in values.items() if name not in strange},
            # An empty variable counts as not set.
            **{name: value for name, value in environ.items() if value.strip()},
        },
        [f"{path}: {problem}" for problem in problems],
        [f"{path}: {name} is not a setting" for name in strange],
    )


def _find(environ: Mapping[str, str], name: str, row: _Row) -> tuple[str, str]:
    """Return where a setting is set and its text, which is empty when it is not set."""
    variable = _variable(name)
    source, place = _source(environ, name, row)
    if source == "environment":
        text = _text_of(environ, place).strip("\r\n" if row.is_secret else None)
        if row.is_secret and environ.get(variable + _FILE_SUFFIX):
            raise ValueError(f"{variable}{_FILE_SUFFIX} is set too: unset one of them")
    else:
        text = "" if source == "default" else _read(Path(place))
    # Bytes of the environment that are not UTF-8 come as lone surrogates; whoever fails on them
    # further in would repeat the text in the error.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be UTF-8")
    return place if source == "environment" else variable, text if text.strip() else ""


def _source(environ: Mapping[str, str], name: str, row: _Row) -> tuple[str, str]:
    """Return what kind of place has the setting, as `EffectiveSetting.source`, and which."""
    variable = _variable(name)
    if environ.get(variable, "").strip():
        return "environment", variable
    if row.is_secret:
        if file := environ.get(variable + _FILE_SUFFIX):
            return "file", file
        directory = environ.get(_SYSTEMD_CREDENTIALS)
        if directory and _may_be_there(Path(directory, name)):
            return "credential", str(Path(directory, name))
    elif row.also and _text_of(environ, row.also).strip():
        return "environment", row.also
    return "default", ""


def _text_of(environ: Mapping[str, str], variable: str) -> str:
    text = environ.get(variable, "")
    if variable == _SYSTEMD_STATE:
        # systemd lists several directories with colons; ours is the first.
        text = text.partition(":")[0]
    return text


def _may_be_there(file: Path) -> bool:
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:
        # What cannot be looked at may be a secret that was to close something.
        return True
    return True


def _read(file: Path, *, may_be_empty: bool = False) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip("\r\n")
    except OSError as problem:
        raise ValueError(f"cannot read {file}: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"cannot read {file}: it is not UTF-8") from None
    if not text.strip() and not may_be_empty:
        # Taken for "not set", it would open what the secret was to close.
        raise ValueError(f"there is nothing in {file}")
    return text


def _warnings_about_names(environ: Mapping[str, str]) -> list[str]:
    # Names are compared without the prefix, which would make all of them alike.
    known = {name.upper() for name in _ROWS}
    known |= {name.upper() + _FILE_SUFFIX for name, row in _ROWS.items() if row.is_secret}
    given = {name.removeprefix(PREFIX) for name in environ if name.startswith(PREFIX)}
    warnings = []
    for unknown in sorted(given - known):
        nearest = get_close_matches(unknown, known, n=1)
        hint = f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""
        warnings.append(f"{PREFIX}{unknown} is not a setting{hint}")
    return warnings

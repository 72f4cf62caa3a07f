from hashlib import sha256
from pathlib import Path

import pytest

from gtower_realtime.limits import Rate
from gtower_realtime.setting_values import ApiKey
from gtower_realtime.settings import Settings, SettingsError, rows

KEY = "0123456789abcdefghij"
SECRET = "s3cret-" + "x" * 40
PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----"


def problems_with(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    return caught.value.problems


def refused_values(name: str, *values: str) -> list[str]:
    """Return those of ``values`` that are not refused."""
    return [value for value in values if not _is_refused(name, value)]


def _is_refused(name: str, value: str) -> bool:
    try:
        Settings.load({name: value})
    except SettingsError as error:
        return all(line.startswith(name) for line in error.problems)
    return False


def test_without_any_variable_the_defaults_of_the_contract_hold() -> None:
    settings = Settings.load({})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("localhost", 3000)
    assert settings.cors_origin == ("*",)
    assert settings.namespaces == ("/",)
    assert settings.state_dir == Path("var")
    assert (settings.synchronous, settings.insecure) == ("normal", False)
    assert not settings.requires_tokens
    assert settings.api_keys == ()
    assert settings.trusted_proxies == settings.presence_rooms == ()
    assert settings.redis_url is settings.jwt_secret is settings.whatsapp_verify_token is None
    assert settings.recovery_seconds == 120.0
    assert settings.log_max_events == 1_000_000
    assert settings.log_max_bytes == 1024**3
    assert settings.log_max_age_seconds == 30 * 86_400
    assert settings.announce_clients
    assert (settings.ping_interval, settings.ping_timeout) == (25.0, 20.0)
    assert (settings.log_level, settings.log_format) == ("info", "text")
    assert (settings.max_message_bytes, settings.max_body_bytes) == (1_000_000, 10_485_760)
    assert (settings.connect_timeout, settings.max_client_buffer_bytes) == (20.0, 1_000_000)
    assert (settings.max_connections, settings.max_connections_per_address) == (10_000, 1000)
    assert settings.max_rooms_per_client == 128
    assert settings.rate_connects == Rate.parse("50/500")
    assert settings.rate_events == Rate.parse("50/200")
    assert settings.rate_broadcasts == Rate.parse("20/200")
    assert settings.rate_joins == Rate.parse("20/100")
    assert settings.rate_api == Rate.parse("500/1000")
    assert (settings.drain_seconds, settings.handler_timeout) == (10.0, 10.0)


def test_every_name_of_the_contract_is_a_setting() -> None:
    names = " ".join(row.name.removeprefix("GTOWER_") for row in rows())
    assert names == (
        "HOST PORT CORS_ORIGIN NAMESPACES STATE_DIR DATABASE_URL SYNCHRONOUS REDIS_URL API_KEYS "
        "AUTH JWT_SECRET JWT_PUBLIC_KEY JWT_JWKS_URL JWT_AUDIENCE JWT_ISSUER INSECURE "
        "TRUSTED_PROXIES RECOVERY_SECONDS LOG_MAX_EVENTS LOG_MAX_BYTES LOG_MAX_AGE_SECONDS "
        "PRESENCE_ROOMS ANNOUNCE_CLIENTS PING_INTERVAL PING_TIMEOUT LOG_LEVEL LOG_FORMAT "
        "WHATSAPP_APP_SECRET WHATSAPP_VERIFY_TOKEN WHATSAPP_RESOLVER_URL MAX_MESSAGE_BYTES "
        "MAX_BODY_BYTES CONNECT_TIMEOUT MAX_CLIENT_BUFFER_BYTES MAX_CONNECTIONS "
        "MAX_CONNECTIONS_PER_ADDRESS RATE_CONNECTS MAX_ROOMS_PER_CLIENT RATE_EVENTS "
        "RATE_BROADCASTS RATE_JOINS RATE_API DRAIN_SECONDS HANDLER_TIMEOUT SETTINGS_FILE"
    )


def test_values_are_read_from_the_environment() -> None:
    settings = Settings.load(
        {
            "GTOWER_PORT": "0",
            "GTOWER_CORS_ORIGIN": "https://app.example.com, https://*.example.org",
            "GTOWER_NAMESPACES": "/,/websocket",
            "GTOWER_TRUSTED_PROXIES": "10.0.0.0/8,::1,unix",
            "GTOWER_ANNOUNCE_CLIENTS": "False",
            "GTOWER_PING_INTERVAL": "0.5",
            "GTOWER_RATE_EVENTS": "5/7",
            "GTOWER_LOG_LEVEL": "DEBUG",
            "GTOWER_STATE_DIR": "/srv/gtower",
        }
    )
    assert settings.port == 0
    assert settings.cors_origin == ("https://app.example.com", "https://*.example.org")
    assert settings.namespaces == ("/", "/websocket")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1", "unix")
    assert not settings.announce_clients
    assert settings.ping_interval == 0.5
    assert settings.rate_events == Rate.parse("5/7")
    assert settings.log_level == "debug"
    assert settings.state_dir == Path("/srv/gtower")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.load({"GTOWER_PORT": "", "GTOWER_API_KEYS": " \n"}) == Settings()


def test_two_names_also_work_bare_and_the_prefixed_one_wins() -> None:
    settings = Settings.load({"PORT": "4000", "CORS_ORIGIN": "https://a.example"})
    assert (settings.port, settings.cors_origin) == (4000, ("https://a.example",))
    assert Settings.load({"PORT": "4000", "GTOWER_PORT": "5000"}).port == 5000
    assert Settings.load({"HOST": "example.com", "LOG_LEVEL": "debug"}) == Settings()


def test_the_state_directory_of_systemd_is_taken_unless_another_is_set() -> None:
    assert Settings.load({"STATE_DIRECTORY": "/var/lib/gtower:/var/lib/b"}).state_dir == Path(
        "/var/lib/gtower"
    )
    both = {"STATE_DIRECTORY": "/var/lib/gtower", "GTOWER_STATE_DIR": "/srv"}
    assert Settings.load(both).state_dir == Path("/srv")


def test_all_problems_are_told_at_once_with_the_names_as_they_were_set() -> None:
    assert problems_with(
        PORT="http",
        GTOWER_PING_TIMEOUT="-1",
        GTOWER_ANNOUNCE_CLIENTS="maybe",
        GTOWER_CORS_ORIGIN="app.example.com,https://ok.example,null",
    ) == (
        "PORT='http': must be a whole number from 0 to 65535",
        "GTOWER_CORS_ORIGIN='app.example.com,https://ok.example,null': item 1 must be like "
        "https://app.example.com, https://*.example.com or http://localhost:5173",
        "GTOWER_CORS_ORIGIN='app.example.com,https://ok.example,null': item 3 must be like "
        "https://app.example.com, https://*.example.com or http://localhost:5173",
        "GTOWER_ANNOUNCE_CLIENTS='maybe': must be true or false",
        "GTOWER_PING_TIMEOUT='-1': must be a number of seconds from 0.01 to 86400",
    )


def test_a_long_bad_value_is_shortened() -> None:
    assert problems_with(GTOWER_PORT="9" * 5000)[0].startswith("GTOWER_PORT='" + "9" * 80 + "':")


def test_an_unknown_name_is_a_warning_with_the_nearest_name() -> None:
    settings = Settings.load({"GTOWER_CORS_ORIGINS": "https://a.example", "GTOWER_QQQQQ": "1"})
    assert settings.warnings == (
        "GTOWER_CORS_ORIGINS is not a setting; did you mean GTOWER_CORS_ORIGIN?",
        "GTOWER_QQQQQ is not a setting",
    )
    assert settings == Settings()


def test_only_secrets_come_from_files() -> None:
    settings = Settings.load({"GTOWER_PORT_FILE": "/etc/port"})
    assert settings.warnings == ("GTOWER_PORT_FILE is not a setting; did you mean GTOWER_PORT?",)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("GTOWER_HOST", ["a b", "unix:relative", "unix:/" + "x" * 107, "http://localhost", "a:80"]),
        ("GTOWER_PORT", ["-1", "65536", "3000.5", "0x50", "٣", "1_000"]),
        (
            "GTOWER_CORS_ORIGIN",
            [
                "*,https://a.example",
                "*.example.com",
                "https://",
                "https://a.example/path",
                "https://a.*.example",
                "https://*",
                "https://münchen.example",
                "null",
                ",",
            ],
        ),
        ("GTOWER_NAMESPACES", ["websocket", "/,/", "/a b", "/a?b", ",", "//"]),
        ("GTOWER_SYNCHRONOUS", ["off"]),
        ("GTOWER_AUTH", ["optional"]),
        ("GTOWER_INSECURE", ["2"]),
        ("GTOWER_TRUSTED_PROXIES", ["proxy.example", "10.0.0.0/33"]),
        ("GTOWER_RECOVERY_SECONDS", ["-1", "inf", "nan", "1e3", "forever"]),
        ("GTOWER_LOG_MAX_EVENTS", ["-1", "1.5"]),
        ("GTOWER_PRESENCE_ROOMS", ["a\x00b", "x" * 201]),
        ("GTOWER_PING_INTERVAL", ["0", "86401"]),
        ("GTOWER_LOG_LEVEL", ["loud"]),
        ("GTOWER_LOG_FORMAT", ["xml"]),
        ("GTOWER_RATE_EVENTS", ["fast", "5", "5/", "-1/5", "inf/5"]),
        ("GTOWER_WHATSAPP_RESOLVER_URL", ["crm.example", "ftp://crm.example", "http://[::1"]),
        ("GTOWER_JWT_JWKS_URL", ["http://keys.example/jwks", "keys", "https://"]),
        ("GTOWER_REDIS_URL", ["localhost:6379", "http://localhost", "redis://localhost/none"]),
        ("GTOWER_REDIS_URL", ["redis://localhost?protocol=3", "redis://localhost/0#1"]),
        ("GTOWER_REDIS_URL", [f"redis://gtower:hun{sign}ter2@localhost/0" for sign in "/?#"]),
        ("GTOWER_DATABASE_URL", ["mysql://localhost/x", "sqlite:x"]),
        ("GTOWER_JWT_SECRET", ["x" * 31]),
        ("GTOWER_JWT_PUBLIC_KEY", ["not a key", PEM.replace("PUBLIC", "PRIVATE")]),
    ],
)
def test_a_value_of_another_form_is_refused(name: str, values: list[str]) -> None:
    assert refused_values(name, *values) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("GTOWER_HOST", ["localhost", "127.0.0.2", "::1", "[::1]", "unix:/run/gtower.sock"]),
        (
            "GTOWER_CORS_ORIGIN",
            ["*", "http://localhost:5173/", "capacitor://localhost", "https://[::1]:8443"],
        ),
        ("GTOWER_NAMESPACES", ["/websocket", "/a/b-c,/"]),
        ("GTOWER_DATABASE_URL", ["memory:"]),
        ("GTOWER_RATE_EVENTS", ["0", "0.5/1", "50/200"]),
        ("GTOWER_MAX_CONNECTIONS", ["0"]),
        ("GTOWER_WHATSAPP_RESOLVER_URL", ["http://127.0.0.1:8000/customers"]),
        ("GTOWER_PRESENCE_ROOMS", ["team:,whatsapp:"]),
    ],
)
def test_a_value_of_the_right_form_is_taken(name: str, values: list[str]) -> None:
    for value in values:
        assert Settings.load({name: value}).warnings == ()


# API keys


def test_an_api_key_is_kept_as_its_digest_only() -> None:
    settings = Settings.load({"GTOWER_API_KEYS": f"crm:publish+read:{KEY}"})
    assert settings.api_keys == (
        ApiKey("crm", frozenset({"publish", "read"}), sha256(KEY.encode()).digest()),
    )
    assert repr(settings.api_keys[0]) == (
        f"ApiKey(name='crm', scopes={settings.api_keys[0].scopes!r}, room_prefixes=())"
    )
    assert KEY not in repr(settings)


def test_an_api_key_may_be_given_as_its_digest() -> None:
    digest = sha256(KEY.encode()).hexdigest()
    plain = Settings.load({"GTOWER_API_KEYS": f"crm:read:{KEY}"})
    assert Settings.load({"GTOWER_API_KEYS": f"crm:read:sha256-{digest.upper()}"}) == plain


def test_the_admin_scope_has_the_others_in_it() -> None:
    (key,) = Settings.load({"GTOWER_API_KEYS": f"ops:admin:{KEY}"}).api_keys
    assert key.scopes == {"admin", "publish", "read"}


def test_the_room_prefixes_of_a_key_may_have_colons() -> None:
    (key,) = Settings.load(
        {"GTOWER_API_KEYS": f"crm:publish:{KEY}:whatsapp:customer:|team"}
    ).api_keys
    assert key.room_prefixes == ("whatsapp:customer:", "team")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("crm", "must be name:scope+scope:key, the name of letters, digits, '.', '_', '-'"),
        (
            f"c r:read:{KEY}",
            "must be name:scope+scope:key, the name of letters, digits, '.', '_', '-'",
        ),
        (f"crm:write:{KEY}", "must have scopes of admin, publish, read, joined by '+'"),
        (f"crm::{KEY}", "must have scopes of admin, publish, read, joined by '+'"),
        ("crm:read:" + KEY[1:], "must have a key of at least 20 characters"),
        (f"crm:read:{KEY} x", "must have a key of visible ASCII characters, to fit into a header"),
        ("crm:read:sha256-" + "0" * 63, "must have 64 hexadecimal digits after 'sha256-'"),
        (f"crm:read:{KEY}:", "each room prefix must not be empty"),
        (f"crm:read:{KEY}:a||b", "each room prefix must not be empty"),
    ],
)
def test_a_bad_api_key_is_named_by_its_place_and_never_shown(item: str, reason: str) -> None:
    problems = problems_with(GTOWER_API_KEYS=f"first:read:{KEY[::-1]},{item}")
    assert problems == (f"GTOWER_API_KEYS: item 2 {reason}",)


def test_two_api_keys_differ_in_name_and_key() -> None:
    assert problems_with(GTOWER_API_KEYS=f"a:read:{KEY},a:read:{KEY}x") == (
        "GTOWER_API_KEYS: two keys must not have the same name",
    )
    assert problems_with(GTOWER_API_KEYS=f"a:read:{KEY},b:admin:{KEY}") == (
        "GTOWER_API_KEYS: two names must not have the same key",
    )


# Secrets


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"crm:read:{KEY}\nops:admin:{KEY}x\r\n")
    settings = Settings.load({"GTOWER_API_KEYS_FILE": str(file)})
    assert [key.name for key in settings.api_keys] == ["crm", "ops"]
    assert settings.warnings == ()


def test_a_secret_is_read_from_the_credentials_of_systemd(tmp_path: Path) -> None:
    (tmp_path / "whatsapp_verify_token").write_text(" token \n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "GTOWER_WHATSAPP_APP_SECRET": SECRET}
    assert Settings.load(environ).whatsapp_verify_token == " token "
    assert Settings.load(environ).api_keys == ()
    environ["GTOWER_WHATSAPP_VERIFY_TOKEN"] = "other"
    assert Settings.load(environ).whatsapp_verify_token == "other"


def test_a_secret_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert problems_with(GTOWER_API_KEYS_FILE=str(missing)) == (
        f"GTOWER_API_KEYS: cannot read {missing}: No such file or directory",
    )
    (tmp_path / "latin").write_bytes(b"gr\xfcn")
    assert problems_with(GTOWER_API_KEYS_FILE=str(tmp_path / "latin")) == (
        f"GTOWER_API_KEYS: cannot read {tmp_path / 'latin'}: it is not UTF-8",
    )


def test_an_empty_secret_file_is_a_problem_and_not_an_open_door(tmp_path: Path) -> None:
    file = tmp_path / "api_keys"
    file.write_text("\n")
    problems = (f"GTOWER_API_KEYS: there is nothing in {file}",)
    assert problems_with(GTOWER_API_KEYS_FILE=str(file)) == problems
    assert problems_with(CREDENTIALS_DIRECTORY=str(tmp_path)) == problems
    assert problems_with(GTOWER_API_KEYS=",") == ("GTOWER_API_KEYS: must have a key",)


def test_credentials_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "api_keys").mkdir()
    assert problems_with(CREDENTIALS_DIRECTORY=str(tmp_path)) == (
        f"GTOWER_API_KEYS: cannot read {tmp_path / 'api_keys'}: Is a directory",
    )


def test_a_secret_is_set_in_one_way_only(tmp_path: Path) -> None:
    assert problems_with(GTOWER_API_KEYS=f"crm:read:{KEY}", GTOWER_API_KEYS_FILE=str(tmp_path)) == (
        "GTOWER_API_KEYS: GTOWER_API_KEYS_FILE is set too: unset one of them",
    )


@pytest.mark.parametrize("name", [row.name for row in rows() if row.is_secret])
@pytest.mark.parametrize("value", [SECRET, "postgresql://u:" + SECRET, SECRET + "\udcff"])
def test_no_message_and_no_repr_shows_a_secret(name: str, value: str) -> None:
    try:
        shown = repr(Settings.load({name: value}))
    except SettingsError as error:
        shown = f"{error} {error!r}"
    assert "s3cret" not in shown


def test_bytes_that_are_not_utf_8_are_a_problem() -> None:
    assert problems_with(GTOWER_JWT_ISSUER="\udcff") == ("GTOWER_JWT_ISSUER: must be UTF-8",)


# What must hold between settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "chat.example.com"])
def test_without_a_key_other_machines_are_not_served(host: str) -> None:
    assert problems_with(GTOWER_HOST=host) == (
        "GTOWER_HOST: other machines can reach this address and no API key is set: "
        "set GTOWER_API_KEYS, or GTOWER_INSECURE=true to serve everybody",
    )
    assert Settings.load({"GTOWER_HOST": host, "GTOWER_INSECURE": "true"}).insecure
    assert Settings.load({"GTOWER_HOST": host, "GTOWER_API_KEYS": f"a:read:{KEY}"}).api_keys


def test_a_rule_is_not_asked_while_one_of_its_settings_cannot_be_read() -> None:
    assert problems_with(GTOWER_HOST="0.0.0.0", GTOWER_API_KEYS="a:b") == (
        "GTOWER_API_KEYS: item 1 must be name:scope+scope:key, "
        "the name of letters, digits, '.', '_', '-'",
    )


def test_a_secret_and_a_public_key_at_once_are_refused() -> None:
    sentence = (
        "GTOWER_JWT_SECRET: a secret and a public key cannot both check tokens: set one of them"
    )
    assert sentence in problems_with(GTOWER_JWT_SECRET=SECRET, GTOWER_JWT_PUBLIC_KEY=PEM)
    assert sentence in problems_with(
        GTOWER_JWT_SECRET=SECRET, GTOWER_JWT_JWKS_URL="https://keys.example/jwks"
    )
    assert Settings.load({"GTOWER_JWT_SECRET": SECRET}).requires_tokens


def test_half_a_whatsapp_webhook_is_refused() -> None:
    assert problems_with(GTOWER_WHATSAPP_APP_SECRET=SECRET) == (
        "GTOWER_WHATSAPP_APP_SECRET: the webhook takes GTOWER_WHATSAPP_VERIFY_TOKEN too: "
        "set both, or none",
    )
    assert problems_with(GTOWER_WHATSAPP_VERIFY_TOKEN="t", GTOWER_WHATSAPP_APP_SECRET=",") == (
        "GTOWER_WHATSAPP_VERIFY_TOKEN: the webhook takes GTOWER_WHATSAPP_APP_SECRET too: "
        "set both, or none",
    )


def test_tokens_are_not_required_without_a_key_to_check_them() -> None:
    assert (
        "GTOWER_AUTH: to require tokens takes GTOWER_JWT_SECRET, GTOWER_JWT_PUBLIC_KEY "
        "or GTOWER_JWT_JWKS_URL"
    ) in problems_with(GTOWER_AUTH="required")


def test_a_private_key_is_called_what_it_is() -> None:
    (problem,) = problems_with(GTOWER_JWT_PUBLIC_KEY=PEM.replace("PUBLIC", "PRIVATE"))
    assert problem == (
        "GTOWER_JWT_PUBLIC_KEY: must be the public key; a private key does not belong here"
    )


def test_keys_for_tokens_are_not_fetched_over_an_open_line() -> None:
    assert problems_with(GTOWER_JWT_JWKS_URL="http://keys.example/jwks") == (
        "GTOWER_JWT_JWKS_URL='http://keys.example/jwks': must be a URL that begins with https://",
    )


# Derived values and documentation


def test_tokens_are_required_when_told_or_once_there_is_a_key_for_them() -> None:
    assert Settings(auth="required").requires_tokens
    assert Settings(jwt_secret=SECRET).requires_tokens
    assert not Settings(jwt_secret=SECRET, auth="off").requires_tokens


def test_a_unix_socket_is_told_by_its_path() -> None:
    assert Settings(host="unix:/run/gtower.sock").unix_socket == Path("/run/gtower.sock")
    assert Settings().unix_socket is None


def test_every_setting_is_documented_with_its_default_and_unit() -> None:
    table = {row.name: row for row in rows()}
    assert table["GTOWER_PORT"].default == "3000"
    assert table["GTOWER_API_KEYS"].default == "none"
    assert table["GTOWER_RATE_EVENTS"].unit == "per second/burst"
    assert table["GTOWER_API_KEYS"].is_secret
    assert not table["GTOWER_PORT"].is_secret
    assert all(row.documentation and "\n" not in row.documentation for row in rows())


# A file with settings


def settings_file(tmp_path: Path, text: str) -> dict[str, str]:
    """Return the environment of a server whose settings are in a file."""
    file = tmp_path / "settings.env"
    file.write_text(text)
    return {"GTOWER_SETTINGS_FILE": str(file)}


def test_settings_are_read_from_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    environ = settings_file(
        tmp_path,
        "# ours\n\n; too\nGTOWER_RATE_API = 7/9\nCORS_ORIGIN='https://a.example.com'\n"
        'GTOWER_DRAIN_SECONDS="3"\nGTOWER_PORT=1\n',
    )
    settings = Settings.load({**environ, "GTOWER_PORT": "4000", "GTOWER_DRAIN_SECONDS": ""})
    assert settings.rate_api == Rate.parse("7/9")
    assert settings.cors_origin == ("https://a.example.com",)
    assert (settings.port, settings.drain_seconds) == (4000, 3.0)
    assert settings.warnings == ()


def test_what_is_wrong_in_the_file_is_told_by_line_and_setting(tmp_path: Path) -> None:
    environ = settings_file(
        tmp_path, f"GTOWER_PORT=x\n{SECRET}\nGTOWER_PORT=2\nGTOWER_SETTINGS_FILE=other\n"
    )
    file = environ["GTOWER_SETTINGS_FILE"]
    assert problems_with(**environ) == (
        f"{file}: line 2 must be NAME=value",
        f"{file}: line 3 sets GTOWER_PORT, which an earlier line has set",
        f"{file}: GTOWER_SETTINGS_FILE cannot be set there",
        "GTOWER_PORT='x': must be a whole number from 0 to 65535",
    )


def test_a_file_may_have_nothing_in_it(tmp_path: Path) -> None:
    assert Settings.load(settings_file(tmp_path, "")).warnings == ()


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    missing = tmp_path / "missing.env"
    assert problems_with(GTOWER_SETTINGS_FILE=str(missing)) == (
        f"GTOWER_SETTINGS_FILE: cannot read {missing}: No such file or directory",
    )


def test_what_is_no_setting_in_the_file_is_a_warning(tmp_path: Path) -> None:
    environ = settings_file(tmp_path, "HOME=/\nGTOWER_PROT=1\nSTATE_DIRECTORY=/tmp\n")
    settings = Settings.load(environ)
    assert settings.warnings == (
        f"{environ['GTOWER_SETTINGS_FILE']}: HOME is not a setting",
        f"{environ['GTOWER_SETTINGS_FILE']}: STATE_DIRECTORY is not a setting",
        "GTOWER_PROT is not a setting; did you mean GTOWER_PORT?",
    )
    assert settings.state_dir == Path("var")


# Reading anew


def test_a_reload_reads_files_anew_and_says_what_takes_a_restart(tmp_path: Path) -> None:
    environ = settings_file(tmp_path, "GTOWER_RATE_API=7/9\nGTOWER_PORT=4000\n")
    keys = tmp_path / "keys"
    keys.write_text(f"shop:publish:{KEY}")
    environ["GTOWER_API_KEYS_FILE"] = str(keys)
    before = Settings.load(environ)
    settings_file(tmp_path, "GTOWER_RATE_API=8/9\nGTOWER_PORT=5000\nGTOWER_HOST=0.0.0.0\n")
    keys.write_text(f"crm:publish:{KEY}")
    after = before.reloaded(environ)
    assert (after.rate_api, after.port, after.host) == (Rate.parse("8/9"), 4000, "localhost")
    assert [key.name for key in after.api_keys] == ["crm"]
    assert after.warnings == (
        "GTOWER_HOST has changed, which takes a restart",
        "GTOWER_PORT has changed, which takes a restart",
    )


def test_a_reload_is_refused_with_all_problems(tmp_path: Path) -> None:
    environ = settings_file(tmp_path, "# nothing yet\n")
    before = Settings.load(environ)
    settings_file(tmp_path, "GTOWER_RATE_API=fast\nCORS_ORIGIN=nowhere\n")
    with pytest.raises(SettingsError) as caught:
        before.reloaded(environ)
    assert [problem.partition("=")[0] for problem in caught.value.problems] == [
        "CORS_ORIGIN",
        "GTOWER_RATE_API",
    ]


def test_a_reload_does_not_open_a_server_that_others_reach(tmp_path: Path) -> None:
    environ = settings_file(tmp_path, f"GTOWER_HOST=0.0.0.0\nGTOWER_API_KEYS=a:publish:{KEY}\n")
    before = Settings.load(environ)
    # Each is good by itself; the host cannot change any more.
    settings_file(tmp_path, "GTOWER_HOST=localhost\n")
    with pytest.raises(SettingsError) as caught:
        before.reloaded(environ)
    assert caught.value.problems == (
        "GTOWER_HOST: other machines can reach this address and no API key is set: set "
        "GTOWER_API_KEYS, or GTOWER_INSECURE=true to serve everybody",
    )


def test_a_reload_does_not_change_whether_tokens_are_needed(tmp_path: Path) -> None:
    environ = settings_file(tmp_path, "# none\n")
    before = Settings.load(environ)
    settings_file(tmp_path, f"GTOWER_JWT_SECRET={SECRET}\n")
    with pytest.raises(SettingsError) as caught:
        before.reloaded(environ)
    assert caught.value.problems == (
        "GTOWER_AUTH: whether clients need tokens changes only with a restart",
    )


def test_the_settings_that_a_reload_changes_are_marked() -> None:
    names = " ".join(row.name.removeprefix("GTOWER_") for row in rows() if row.reloads)
    assert names == (
        "CORS_ORIGIN API_KEYS JWT_SECRET JWT_PUBLIC_KEY JWT_JWKS_URL JWT_AUDIENCE JWT_ISSUER "
        "TRUSTED_PROXIES LOG_MAX_EVENTS LOG_MAX_BYTES LOG_MAX_AGE_SECONDS PING_INTERVAL "
        "PING_TIMEOUT MAX_MESSAGE_BYTES MAX_BODY_BYTES CONNECT_TIMEOUT MAX_CLIENT_BUFFER_BYTES "
        "MAX_CONNECTIONS MAX_CONNECTIONS_PER_ADDRESS RATE_CONNECTS MAX_ROOMS_PER_CLIENT "
        "RATE_EVENTS RATE_BROADCASTS RATE_JOINS RATE_API DRAIN_SECONDS"
    )

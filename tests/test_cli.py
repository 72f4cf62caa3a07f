import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gtower_realtime.cli import main
from gtower_realtime.commands.cautions import cautions
from gtower_realtime.identity import ApiKeys
from gtower_realtime.permissions import Cap
from gtower_realtime.settings import Settings, rows
from gtower_realtime.timestamps import SystemClock
from gtower_realtime.tokens import TokenVerifier, VerificationKey

ROOT = Path(__file__).parent.parent
START_LINE = re.compile(
    r"GTower Realtime \S+ on http://localhost:(\d+) · "
    r"test page http://localhost:\1/websocket-client-example\.html\n"
)
# Only a hang takes as long.
PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in os.environ:
        if name.startswith("GTOWER_") or name in {"PORT", "CORS_ORIGIN"}:
            monkeypatch.delenv(name)


@contextmanager
def server_process(
    *arguments: str, stdin: int = subprocess.DEVNULL, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """Run ``run.py`` as operators do; what is left of it in the end is killed."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        env={**os.environ, "PYTHONUTF8": "1", **environ},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def started_port(process: subprocess.Popen[str]) -> int:
    """Return the port that the start line names."""
    assert process.stdout is not None
    line = START_LINE.fullmatch(process.stdout.readline())
    assert line is not None
    return int(line[1])


def status_of(path: str, port: int) -> int:
    connection = HTTPConnection("localhost", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_abort_shows_where_the_server_was() -> None:
    with server_process("serve", GTOWER_PORT="0", GTOWER_DATABASE_URL="memory:") as process:
        started_port(process)
        process.send_signal(signal.SIGABRT)
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGABRT
        assert process.stderr is not None
        told = process.stderr.read()
    assert told.startswith("Fatal Python error: Aborted\n")
    assert "run_forever" in told


def test_the_settings_are_listed_as_a_table() -> None:
    result = CliRunner().invoke(main, ["settings"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert re.fullmatch(
        r"GTOWER_PING_TIMEOUT +20 +Time that a client has to answer a ping \(seconds, reload\)",
        lines["GTOWER_PING_TIMEOUT"],
    )


def test_the_settings_are_listed_as_json() -> None:
    result = CliRunner().invoke(main, ["settings", "--json"])
    table = {row["name"]: row for row in json.loads(result.output)}
    assert table["GTOWER_PORT"] == {
        "name": "GTOWER_PORT",
        "default": "3000",
        "unit": "",
        "documentation": "TCP port to listen on; 0 takes a free one",
        "is_secret": False,
        "also": "PORT",
        "reloads": False,
    }


def test_the_version_is_told() -> None:
    assert re.fullmatch(
        r"GTower Realtime \d+\.\d+\.\d+\n", CliRunner().invoke(main, ["version"]).output
    )


def test_the_version_is_told_with_what_it_stands_on() -> None:
    told = json.loads(CliRunner().invoke(main, ["version", "--json"]).output)
    assert list(told) == ["gtower-realtime", "python", "tornado", "python-socketio", "sqlite"]
    assert all(re.match(r"\d+\.\d+", each) for each in told.values())


def test_a_command_loads_only_what_it_needs() -> None:
    program = (
        "import sys; from gtower_realtime.cli import main;"
        "main(['version'], standalone_mode=False);"
        "print({'tornado', 'socketio', 'httpx', 'sqlalchemy'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert printed.splitlines()[-1] == "set()"


def test_settings_are_found_by_a_word_of_their_names() -> None:
    result = CliRunner().invoke(main, ["settings", "ping"])
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "SETTING",
        "GTOWER_PING_INTERVAL",
        "GTOWER_PING_TIMEOUT",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["chek-config"], "No such command 'chek-config'. Did you mean 'check-config'?"),
        (["check-config", "--prot", "3"], "Did you mean one of: '--host', '--port'?"),
        (["make-key"], "Missing argument 'NAME'"),
        (["make-token", "ann", "--minutes", "soon"], "'soon' is not a valid float"),
        (["--prot", "3"], "No such option '--prot'"),
    ],
    ids=["command", "option", "no-argument", "value", "serve"],
)
def test_a_wrong_line_ends_with_64_and_says_what_is_meant(
    arguments: list[str], sentence: str
) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == os.EX_USAGE
    assert sentence in result.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} {ROOT / 'run.py'} settings --json | head -1"
    result = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert (result.stdout, result.stderr) == ("[\n", "")


def test_the_help_lists_the_commands() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for command in ("serve", "check-config", "settings", "version"):
        assert re.search(rf"^  {command} ", result.output, re.MULTILINE)


@pytest.mark.parametrize("command", main.commands)
def test_the_help_of_a_command_says_what_it_and_each_option_is_for(command: str) -> None:
    found = main.commands[command]
    short = found.get_short_help_str(limit=100)
    assert short.endswith(".")
    assert len(short) <= 60
    options = [option for option in found.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []
    result = CliRunner().invoke(main, [command, "--help"])
    assert (result.exit_code, "\\b" in result.output) == (0, False)
    assert result.output.startswith(f"Usage: main {command} ")


def test_good_settings_pass_the_check() -> None:
    result = CliRunner().invoke(main, ["check-config"], env={"GTOWER_PORT": "4000"})
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "The settings are valid."


def test_bad_settings_fail_the_check_with_all_problems_and_status_78() -> None:
    result = CliRunner().invoke(
        main, ["check-config"], env={"GTOWER_PORT": "x", "GTOWER_AUTH": "maybe"}
    )
    assert result.exit_code == 78
    assert "valid" not in result.stdout
    assert result.stderr == (
        "GTOWER_PORT='x': must be a whole number from 0 to 65535\n"
        "GTOWER_AUTH='maybe': must be one of off, required\n"
    )


def test_an_unknown_name_is_warned_of_when_the_start_is_refused_too() -> None:
    environ = {"GTOWER_PROT": "1", "GTOWER_PING_INTERVAL": "soon"}
    result = CliRunner().invoke(main, ["check-config"], env=environ)
    assert result.exit_code == 78
    assert "Warning: GTOWER_PROT is not a setting; did you mean GTOWER_PORT?" in result.output


def test_an_unknown_name_is_warned_of() -> None:
    result = CliRunner().invoke(main, ["check-config"], env={"GTOWER_PROT": "1"})
    assert result.exit_code == 0
    first = "Warning: GTOWER_PROT is not a setting; did you mean GTOWER_PORT?"
    assert result.stderr.splitlines()[0] == first


def checked(*arguments: str, **environ: str) -> dict[str, Any]:
    """Return what `check-config --json` says."""
    result = CliRunner().invoke(main, ["check-config", "--json", *arguments], env=environ)
    said: dict[str, Any] = json.loads(result.stdout)
    assert result.stderr == ""
    assert result.exit_code == (os.EX_CONFIG if said["problems"] else os.EX_OK)
    return said


def test_each_setting_is_shown_with_where_it_comes_from_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("shop:publish:a-key-of-twenty-characters")
    (tmp_path / "jwt_secret").write_text(SECRET)
    environ = {
        "PORT": "4000",
        "GTOWER_LOG_LEVEL": "debug",
        "GTOWER_API_KEYS_FILE": str(file),
        "GTOWER_DATABASE_URL": "memory:",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    said = checked("--ping-timeout", "5", **environ)
    shown = {row.pop("name"): row for row in said["settings"]}
    assert len(shown) == len(rows())
    assert {
        "GTOWER_HOST": {"value": "localhost", "source": "default", "place": ""},
        "GTOWER_PORT": {"value": "4000", "source": "environment", "place": "PORT"},
        "GTOWER_LOG_LEVEL": {
            "value": "debug",
            "source": "environment",
            "place": "GTOWER_LOG_LEVEL",
        },
        "GTOWER_API_KEYS": {"value": "***", "source": "file", "place": str(file)},
        "GTOWER_JWT_SECRET": {
            "value": "***",
            "source": "credential",
            "place": str(tmp_path / "jwt_secret"),
        },
        "GTOWER_DATABASE_URL": {
            "value": "***",
            "source": "environment",
            "place": "GTOWER_DATABASE_URL",
        },
        "GTOWER_PING_TIMEOUT": {"value": "5", "source": "option", "place": "--ping-timeout"},
        "GTOWER_REDIS_URL": {"value": "", "source": "default", "place": ""},
    }.items() <= shown.items()


def test_what_comes_from_the_settings_file_is_said_to(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"GTOWER_PORT=4000\nGTOWER_LOG_LEVEL=debug\nGTOWER_JWT_SECRET={SECRET}\n")
    said = checked(GTOWER_SETTINGS_FILE=str(file), GTOWER_LOG_LEVEL="error")
    shown = {row.pop("name"): row for row in said["settings"]}
    place = {"source": "settings file", "place": str(file)}
    assert shown["GTOWER_PORT"] == {"value": "4000", **place}
    assert shown["GTOWER_JWT_SECRET"] == {"value": "***", **place}
    assert shown["GTOWER_LOG_LEVEL"]["value"] == "error"
    assert shown["GTOWER_LOG_LEVEL"]["source"] == "environment"


def test_the_settings_in_effect_are_a_table_for_people() -> None:
    result = CliRunner().invoke(main, ["check-config"], env={"PORT": "4000"})
    lines = [re.split(" {2,}", line) for line in result.stdout.splitlines()]
    assert lines[:3] == [
        ["SETTING", "FROM", "VALUE"],
        ["GTOWER_HOST", "default", "localhost"],
        ["GTOWER_PORT", "environment PORT", "4000"],
    ]


def test_a_secret_that_is_wrong_is_not_shown() -> None:
    said = checked(GTOWER_API_KEYS="shop:publish:hunter2")
    assert len(said["problems"]) == 1
    assert "hunter2" not in json.dumps(said)


@pytest.mark.parametrize("password", ["hunter2", "hun/ter2", "hun?ter2", "hun#ter2", "hun@ter2"])
def test_the_password_of_redis_is_never_shown(password: str) -> None:
    said = checked(GTOWER_REDIS_URL=f"redis://gtower:{password}@redis.example")
    assert len(said["problems"]) == (0 if password in {"hunter2", "hun@ter2"} else 1)
    assert "hun" not in json.dumps(said)
    assert "ter2" not in json.dumps(said)


KEYS = "shop:publish:a-key-of-twenty-characters"
SAFE = {
    "GTOWER_HOST": "0.0.0.0",
    "GTOWER_CORS_ORIGIN": "https://app.example.com",
    "GTOWER_API_KEYS": KEYS,
    "GTOWER_JWT_SECRET": "a-secret-of-at-least-32-bytes-for-tests",
    "GTOWER_TRUSTED_PROXIES": "10.0.0.1",
    "GTOWER_MAX_CONNECTIONS": "100",
}
NODE = {
    "GTOWER_REDIS_URL": "redis://localhost",
    "GTOWER_DATABASE_URL": "postgresql://localhost/gtower",
}


def test_settings_that_leave_nothing_open_are_warned_of_nothing() -> None:
    assert checked(**SAFE)["warnings"] == []
    for url in ("redis://localhost", "redis://[::1]:1/0", "rediss://gtower:hunter2@redis.example"):
        assert checked(**SAFE | NODE | {"GTOWER_REDIS_URL": url})["warnings"] == []


@pytest.mark.parametrize(
    ("changed", "begin"),
    [
        ({"GTOWER_CORS_ORIGIN": "*"}, "GTOWER_CORS_ORIGIN is *: every web page may connect."),
        ({"GTOWER_API_KEYS": "", "GTOWER_INSECURE": "true"}, "GTOWER_API_KEYS is not set"),
        ({"GTOWER_JWT_SECRET": ""}, "Tokens are off"),
        ({"GTOWER_TRUSTED_PROXIES": ""}, "GTOWER_TRUSTED_PROXIES is not set"),
        (
            {"GTOWER_TRUSTED_PROXIES": "", "GTOWER_HOST": "unix:/run/gtower.sock"},
            "GTOWER_TRUSTED_PROXIES is not set",
        ),
        ({"GTOWER_DATABASE_URL": "memory:"}, "GTOWER_DATABASE_URL is memory: everything is"),
        (
            NODE | {"GTOWER_REDIS_URL": "rediss://redis.example/0"},
            "GTOWER_REDIS_URL has no password",
        ),
        (
            NODE | {"GTOWER_REDIS_URL": "rediss://gtower@10.0.0.5"},
            "GTOWER_REDIS_URL has no password",
        ),
        (
            NODE | {"GTOWER_REDIS_URL": "redis://gtower:hunter2@redis.example/0"},
            "GTOWER_REDIS_URL is redis:// to another machine",
        ),
        (
            NODE | {"GTOWER_DATABASE_URL": "memory:"},
            "GTOWER_DATABASE_URL is memory: what waits while Redis is away is lost",
        ),
        (
            NODE | {"GTOWER_DATABASE_URL": ""},
            "GTOWER_REDIS_URL is set and GTOWER_DATABASE_URL is SQLite: history reaches as far "
            "back as the stream in Redis, 100,000 events of all rooms or 64 MiB.",
        ),
    ],
    ids=[
        *("cors", "keys", "tokens", "proxies", "socket", "memory"),
        *("open redis", "no password", "plain redis", "memory outbox", "history"),
    ],
)
def test_what_is_allowed_and_may_not_be_meant_is_warned_of(
    changed: dict[str, str], begin: str
) -> None:
    (warning,) = checked(**SAFE | changed)["warnings"]
    assert warning.startswith(begin)


def test_too_few_open_files_are_warned_of() -> None:
    settings = Settings.load(SAFE | {"GTOWER_MAX_CONNECTIONS": "10000"})
    assert cautions(settings, open_files=10_100) == []
    assert cautions(settings, open_files=None) == []
    assert cautions(settings, open_files=10_099) == [
        "At most 10099 files may be open, which is too few for GTOWER_MAX_CONNECTIONS=10000. "
        "Allow 10100 (`ulimit -Hn`, systemd's LimitNOFILE=)."
    ]


def test_the_file_of_the_log_is_shown_where_it_is() -> None:
    shown = {row["name"]: row["value"] for row in checked(STATE_DIRECTORY="/a:/b")["settings"]}
    assert shown["GTOWER_STATE_DIR"] == "/a"
    assert shown["GTOWER_DATABASE_URL"] == "sqlite:////a/gtower.db"


def test_an_option_wins_over_the_environment() -> None:
    result = CliRunner().invoke(main, ["check-config", "--port", "4000"], env={"GTOWER_PORT": "x"})
    assert result.exit_code == 0


def test_secrets_are_no_options() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"])
    assert "--max-connections" in result.output
    assert "--api-keys" not in result.output


def test_it_serves_until_sigterm_and_leaves_with_0() -> None:
    with server_process("serve", "--port", "0") as process:
        port = started_port(process)
        assert status_of("/healthz", port) == 200
        assert status_of("/websocket-client-example.html", port) == 200
        process.terminate()
        rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, errors
        assert rest == ""
        assert "Traceback" not in errors


def test_without_a_command_it_serves() -> None:
    with server_process("--port", "0") as process:
        started_port(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_bad_settings_stop_the_start_with_status_78() -> None:
    with server_process(GTOWER_HOST="0.0.0.0") as process:
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, output) == (78, "")
        assert errors.startswith("GTOWER_HOST: other machines can reach this address")


def test_a_port_that_is_taken_stops_the_start_with_status_69() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with server_process(PORT=str(port)) as process:
            output, errors = process.communicate(timeout=PATIENCE_SECONDS)
            assert (process.returncode, output) == (69, "")
            assert f"Cannot listen on port {port} of localhost: another process does." in errors


def test_a_unix_socket_is_served_and_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "gtower.sock"
    with server_process(GTOWER_HOST=f"unix:{path}") as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(
            f" on unix:{path} · test page /websocket-client-example.html\n"
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not path.exists()


def test_a_server_ends_with_its_terminal() -> None:
    terminal, ours = pty.openpty()
    with server_process(
        "serve", stdin=ours, GTOWER_PORT="0", GTOWER_DATABASE_URL="memory:"
    ) as process:
        started_port(process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGHUP
    os.close(ours)
    os.close(terminal)


# Keys and tokens

SECRET = "a-secret-of-at-least-32-bytes-for-tests"


def test_a_key_is_made_for_the_setting_that_takes_it() -> None:
    arguments = ["make-key", "shop", "--scope", "publish", "--prefix", "sales:", "--json"]
    made = json.loads(CliRunner().invoke(main, arguments).stdout)
    assert len(made["key"]) == 43
    assert made["key"] not in made["setting"]
    keys = ApiKeys(Settings.load({"GTOWER_API_KEYS": made["setting"]}).api_keys)
    key = keys.authorize(made["key"], "publish")
    assert key is not None
    assert (key.name, key.scopes, key.room_prefixes) == ("shop", {"publish"}, ("sales:",))


def test_a_key_is_shown_with_where_each_part_goes() -> None:
    result = CliRunner().invoke(main, ["make-key", "shop"])
    assert re.fullmatch(
        r"For the back-end, as X-API-Key:  [\w-]{43}\n"
        r"For the server, in GTOWER_API_KEYS:  shop:publish:sha256-[0-9a-f]{64}\n",
        result.stdout,
    )


def test_a_name_that_no_key_can_have_is_refused() -> None:
    result = CliRunner().invoke(main, ["make-key", "shop:1"])
    assert (result.exit_code, "must have scopes" in result.output) == (64, True)


def test_a_token_is_made_with_the_secret_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTOWER_JWT_SECRET", SECRET)
    arguments = ["make-token", "ann", "--room", "sales", "--cap", "whatsapp:*=join+history"]
    result = CliRunner().invoke(main, [*arguments, "--audience", "agents", "--minutes", "1"])
    verifier = TokenVerifier(VerificationKey.from_secret(SECRET), SystemClock(), audience="agents")
    identity = asyncio.run(verifier.verify(result.stdout.strip()))
    assert (identity.user_id, identity.rooms) == ("ann", ("sales",))
    assert identity.caps == (Cap(("whatsapp:*",), frozenset({"join", "history"})),)


@pytest.mark.parametrize(
    ("arguments", "secret", "sentence"),
    [
        (["ann"], "", "GTOWER_JWT_SECRET is not set"),
        (["ann", "--cap", "sales=shout"], SECRET, "Must be one of: join, publish"),
        (["", "--room", "sales"], SECRET, "must not be empty"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], secret: str, sentence: str
) -> None:
    monkeypatch.setenv("GTOWER_JWT_SECRET", secret)
    result = CliRunner().invoke(main, ["make-token", *arguments])
    assert (result.exit_code, sentence in result.output) == (64, True)


def test_a_key_that_cannot_check_tokens_is_found_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nbm9uc2Vuc2U=\n-----END PUBLIC KEY-----"
    monkeypatch.setenv("GTOWER_JWT_PUBLIC_KEY", pem)
    result = CliRunner().invoke(main, ["check-config"])
    assert result.exit_code == os.EX_CONFIG
    assert "GTOWER_JWT_PUBLIC_KEY: must be a public key in PEM" in result.output

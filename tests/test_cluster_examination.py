"""What is found out about a Redis: one that is well, and ones that are not."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from gtower_realtime.cluster.examination import Observation, examine
from gtower_realtime.cluster.link import Link, RedisAway
from tests.redis_server import RedisServer, User, redis_program

PASSWORD = "hunter2-and-more"
NEEDED = (
    "resetchannels ~gtower:* -@all +client|setname +time +get +mget +set +del +exists "
    "+pexpire +scan +xadd +xread +xrange +xrevrange +xtrim +xinfo|stream +hset +hdel +hgetall "
    "+zadd +zrem +zrange +zscore +evalsha +script|load"
)
"""What a user must be allowed."""


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    """Run a server, and remove it in the end."""
    try:
        server.start()
        yield server
    finally:
        server.remove()


def guarded(server: RedisServer, rights: str = NEEDED) -> str:
    """Let in nobody but one user, who may do as much; return the URL for that one."""
    server.say("ACL", "SETUSER", "gtower", "on", f">{PASSWORD}", *rights.split())
    server.say("ACL", "SETUSER", "default", "off")
    return server.url.replace("//", f"//gtower:{PASSWORD}@")


def found(url: str) -> dict[str, Observation]:
    observations = asyncio.run(examine(url))
    told = json.dumps(observations)
    assert PASSWORD not in told
    return {observation.subject: observation for observation in observations}


def states(observations: dict[str, Observation]) -> dict[str, str]:
    return {name: each.state for name, each in observations.items()}


def failure(url: str) -> str:
    """Return what is said of a Redis that fails at the last thing that is looked for."""
    *before, last = found(url).values()
    assert {each.state for each in before} <= {"ok"}
    assert last.state == "fail"
    return f"{last.subject}: {last.said} → {last.advice}"


def test_a_redis_that_is_well_passes_all_checks_and_keeps_nothing(
    redis_server: RedisServer,
) -> None:
    async def beat() -> None:
        link = Link(redis_server.url, "ant")
        await link.beat('{"name":"ant:3001"}')
        await link.close()

    asyncio.run(beat())
    observations = found(redis_server.url)
    assert states(observations) == dict.fromkeys(
        ["Redis", "Redis use", "Redis memory", "Redis file", "Redis processes"], "ok"
    )
    assert observations["Redis"].said.startswith("version ")
    assert observations["Redis processes"].said == "1: ant:3001"
    assert set(redis_server.say("KEYS", "*")) == {b"gtower:nodes", b"gtower:node-details"}


def test_processes_that_are_silent_are_none(redis_server: RedisServer) -> None:
    redis_server.say("ZADD", "gtower:nodes", "1000", "ant")
    observation = found(redis_server.url)["Redis processes"]
    assert (observation.state, observation.said) == ("warn", "none has been heard of")


def test_a_redis_that_forgets_is_warned_of(own_redis: RedisServer) -> None:
    own_redis.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    own_redis.say("CONFIG", "SET", "appendonly", "no")
    observations = found(own_redis.url)
    assert states(observations) == {
        "Redis": "ok",
        "Redis use": "ok",
        "Redis memory": "warn",
        "Redis file": "warn",
        "Redis processes": "warn",
    }
    assert observations["Redis memory"].said == (
        "maxmemory-policy is allkeys-lru: when it is full it drops what clients are still to get"
    )
    assert observations["Redis file"].said.startswith("appendonly is off: when it restarts")


def test_a_redis_that_is_not_there_is_said_to_be_away(own_redis: RedisServer) -> None:
    own_redis.kill()
    said = failure(own_redis.url)
    assert said.startswith("Redis: ConnectionError: Error 111 connecting to 127.0.0.1:")
    assert said.endswith(
        "→ Is it running, is GTOWER_REDIS_URL its address, and rediss:// only where it speaks TLS?"
    )


def test_a_redis_that_stands_still_is_not_waited_for(own_redis: RedisServer) -> None:
    own_redis.freeze()
    assert failure(own_redis.url).startswith("Redis: TimeoutError: no answer within 1 s")


def test_a_full_redis_is_said_to_be_full(own_redis: RedisServer) -> None:
    own_redis.fill()
    assert failure(own_redis.url) == (
        "Redis use: OutOfMemoryError: command not allowed when used memory > 'maxmemory'. → Raise "
        "its maxmemory. Leave maxmemory-policy at noeviction."
    )


def test_a_replica_is_refused(own_redis: RedisServer) -> None:
    own_redis.say("REPLICAOF", "127.0.0.1", "1")
    said = failure(own_redis.url)
    assert said.startswith("Redis use: ReadOnlyError: ")
    assert said.endswith("→ This is a replica: name the Redis that it follows.")


def test_what_a_process_needs_is_enough(own_redis: RedisServer) -> None:
    observations = found(guarded(own_redis))
    assert states(observations) == {
        "Redis": "ok",
        "Redis use": "ok",
        "Redis memory": "skip",
        "Redis processes": "warn",
    }
    assert observations["Redis memory"].advice.startswith("Allow `+info`, or see that it has ")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(PASSWORD, f"{PASSWORD}-not"), ("gtower:", "nobody:"), (f"gtower:{PASSWORD}@", "")],
    ids=["password", "user", "nobody"],
)
def test_who_may_not_log_in_is_told(own_redis: RedisServer, right: str, wrong: str) -> None:
    said = failure(guarded(own_redis).replace(right, wrong))
    assert said.startswith("Redis: AuthenticationError: ")
    assert said.endswith("→ Look at user and password in GTOWER_REDIS_URL, and at Redis's users.")


@pytest.mark.parametrize("right", [right for right in NEEDED.split() if right.startswith("+")])
def test_a_command_that_is_not_allowed_is_missed(own_redis: RedisServer, right: str) -> None:
    rights = [each for each in NEEDED.split() if each != right]
    assert "docs/deployment.md has in" in failure(guarded(own_redis, " ".join(rights)))


def test_keys_that_are_not_allowed_are_missed(own_redis: RedisServer) -> None:
    said = failure(guarded(own_redis, NEEDED.replace("~gtower:*", "~other:*")))
    assert said.startswith("Redis use: NoPermissionError: ")


def test_a_certificate_that_is_not_trusted_is_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = User("gtower", PASSWORD)
    with running(RedisServer(redis_program(), user=user, is_encrypted=True)) as server:
        said = failure(server.url)
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert said.endswith("→ Have this system trust its certificate, or set SSL_CERT_FILE.")
        assert failure(server.url.replace("rediss", "redis")).startswith("Redis: ConnectionError: ")
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        assert states(found(server.url))["Redis use"] == "ok"


def configured(line: str, directory: Path) -> RedisServer:
    """Return a server with one more option, as on its command line."""
    program = directory / "redis-server"
    program.write_text(f'#!/bin/sh\nexec {redis_program()} "$@" {line}\n')
    program.chmod(0o700)
    return RedisServer(str(program))


def test_a_redis_that_repeats_the_password_is_not_heard_out(tmp_path: Path) -> None:
    with running(configured("--rename-command AUTH ''", tmp_path)) as server:
        said = failure(server.url.replace("//", f"//gtower:{PASSWORD}@"))
    assert said.startswith("Redis: ResponseError: unknown command 'AUTH' → ")


def test_a_redis_cluster_is_refused(tmp_path: Path) -> None:
    with running(configured("--cluster-enabled yes", tmp_path)) as server:
        said = failure(server.url)
    assert said.startswith("Redis use: ")
    assert said.endswith("→ This is a Redis Cluster: name a single Redis.")


def test_a_redis_that_is_slow_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    monkeypatch.setattr("gtower_realtime.cluster.examination.PATIENCE_SECONDS", 0.00001)
    observation = found(redis_server.url)["Redis use"]
    assert observation.state == "warn"
    assert observation.said.startswith("a change takes ")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ResponseError: MISCONF Redis is configured to save", "Redis cannot save: make room on"),
        ("MovedError: 866 127.0.0.1:7001", "This is a Redis Cluster: name a single Redis."),
    ],
)
def test_there_is_advice_for_what_cannot_be_brought_about(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, said: str, advice: str
) -> None:
    monkeypatch.setattr(Link, "join", AsyncMock(side_effect=RedisAway(said)))
    assert failure(redis_server.url).startswith(f"Redis use: {said} → {advice}")


@pytest.mark.parametrize(
    ("answer", "version"),
    [("6.0.16", "6.0.16"), (RedisAway("ResponseError: unknown command `HELLO`"), "before 6")],
)
def test_an_old_redis_is_refused(
    monkeypatch: pytest.MonkeyPatch, answer: str | RedisAway, version: str
) -> None:
    monkeypatch.setattr(Link, "version", AsyncMock(side_effect=[answer]))
    assert failure("redis://127.0.0.1:1") == (
        f"Redis: it has version {version} → 6.2 or newer is needed, or Valkey."
    )

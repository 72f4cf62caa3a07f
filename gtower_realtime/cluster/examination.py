"""Whether a Redis is one that processes can share, found out from here: for `doctor`."""

import contextlib
import secrets
import time
from typing import Literal, NamedTuple

from gtower_realtime import strict_json
from gtower_realtime.cluster.link import PREFIX, Link, RedisAway, Sent
from gtower_realtime.cluster.log import PATIENCE_SECONDS
from gtower_realtime.cluster.nodes import DEAD_SECONDS

_LEAST_VERSION = (6, 2)
_TIMES = 5
_KEPT_MILLISECONDS = 60_000

_CORNER = f"{PREFIX}examination:"
"""What the keys begin with that are made, and deleted again."""

_ADVICE = (
    ("AuthenticationError", "Look at user and password in GTOWER_REDIS_URL, and at Redis's users."),
    ("NoPermission", "Allow its user what docs/deployment.md has in the line of the user."),
    ("user executing the script", "Allow its user what docs/deployment.md has in its line."),
    ("OutOfMemory", "Raise its maxmemory. Leave maxmemory-policy at noeviction."),
    ("ReadOnly", "This is a replica: name the Redis that it follows."),
    ("MISCONF", "Redis cannot save: make room on its disk."),
    ("Cluster", "This is a Redis Cluster: name a single Redis."),
    ("MovedError", "This is a Redis Cluster: name a single Redis."),
    ("CERTIFICATE_VERIFY_FAILED", "Have this system trust its certificate, or set SSL_CERT_FILE."),
    ("", "Is it running, is GTOWER_REDIS_URL its address, and rediss:// only where it speaks TLS?"),
)
"""What to do by what is said; the first that fits."""


class Observation(NamedTuple):
    """What was looked at, how it is, and what to do, empty if nothing."""

    subject: str
    state: Literal["ok", "warn", "fail", "skip"]
    said: str
    advice: str = ""
    milliseconds: float | None = None
    """How long Redis took, where that says something."""


async def examine(url: str) -> list[Observation]:
    """Return what can be said of the Redis at ``url``, in the order in which it is looked for.

    All is done there once that a process does, with keys of its own, and no process notices. No
    more is looked for once something fails. The password is in nothing that is returned.
    """
    link = Link(url, "examination")
    trial = Link(url, secrets.token_hex(8), _CORNER)
    try:
        observations = [await _contact(link)]
        if observations[0].state == "ok":
            observations.append(await _use(trial))
        if observations[-1].state != "fail":
            observations += (*await _set_up(link), await _processes(link))
    finally:
        await link.close()
        await trial.close()
    return observations


async def _contact(link: Link) -> Observation:
    begin = time.monotonic()
    try:
        version = await link.version()
    except RedisAway as problem:
        if "HELLO" not in str(problem):
            return _failed("Redis", problem)
        version = "before 6"
    took = round((time.monotonic() - begin) * 1000, 1)
    if _parts(version) < _LEAST_VERSION:
        said = f"it has version {version}"
        return Observation("Redis", "fail", said, "6.2 or newer is needed, or Valkey.")
    return Observation("Redis", "ok", f"version {version} answers in {took} ms", "", took)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


async def _use(link: Link) -> Observation:
    subject = "Redis use"
    try:
        took = await _tried(link)
    except RedisAway as problem:
        return _failed(subject, problem)
    finally:
        # What cannot be deleted is in the way of nobody, and taken up the next time.
        with contextlib.suppress(RedisAway):
            await link.keep((), (), _made(link))
    if took > PATIENCE_SECONDS * 1000:
        return Observation(
            subject,
            "warn",
            f"a change takes {took} ms",
            f"After {PATIENCE_SECONDS * 1000:.0f} ms a process goes on alone. Is it near enough?",
            took,
        )
    return Observation(subject, "ok", f"all is allowed, a change takes {took} ms", "", took)


async def _tried(link: Link) -> float:
    """Do all that a process does; return how many milliseconds an append takes at the best.

    Raises:
        RedisAway: something of it cannot be done.
    """
    node, session = link.node, link.keys.session(link.node)
    await link.join(node, "", "0-0")
    await link.beat("{}")
    kept = strict_json.dumps([(link.keys.mark(node), "{}", _KEPT_MILLISECONDS, "!")])
    times = []
    for sequence in range(1, _TIMES + 1):
        begin = time.monotonic()
        await link.append([Sent(node, sequence, "[]", kept if sequence == 1 else "")])
        times.append(time.monotonic() - begin)
    # There is more to ask of a log that is there.
    await link.join(node, "", "0-0")
    await link.tell([(node, "{}")])
    await link.read("0-0", "0-0")
    last_id = await link.last_id()
    await link.slice("0-0", last_id)
    await link.keep([(session, "{}", _KEPT_MILLISECONDS)], [(session, _KEPT_MILLISECONDS)], ())
    await link.sessions()
    await link.trim(last_id)
    await link.bury(node, None, "[]")
    return round(min(times) * 1000, 1)


def _made(link: Link) -> list[str]:
    keys, node = link.keys, link.node
    return [
        *(keys.log, keys.epoch, keys.nodes, keys.node_details),
        *(keys.inbox(node), keys.session(node), keys.mark(node), keys.sequence(node)),
    ]


async def _set_up(link: Link) -> list[Observation]:
    try:
        facts = await link.facts()
    except RedisAway as problem:
        if "NoPermission" not in str(problem):
            return [_failed("Redis memory", problem)]
        return [
            Observation(
                "Redis memory",
                "skip",
                "its user may not ask how it is set up",
                "Allow `+info`, or see that it has `maxmemory-policy noeviction` and `appendonly "
                "yes`.",
            )
        ]
    policy, keeps_file = facts["maxmemory_policy"], facts["aof_enabled"] == "1"
    return [
        Observation("Redis memory", "ok", "when it is full it refuses")
        if policy == "noeviction"
        else Observation(
            "Redis memory",
            "warn",
            f"maxmemory-policy is {policy}: when it is full it drops what clients are still to get",
            "Set `maxmemory-policy noeviction`: processes go on without a Redis that refuses.",
        ),
        Observation("Redis file", "ok", "it keeps what it has over a restart")
        if keeps_file
        else Observation(
            "Redis file",
            "warn",
            "appendonly is off: when it restarts, sessions and events are lost",
            "Set `appendonly yes`, or all clients load their pages anew after its restart.",
        ),
    ]


async def _processes(link: Link) -> Observation:
    subject = "Redis processes"
    try:
        roster = await link.roster()
    except RedisAway as problem:
        return _failed(subject, problem)
    dead_at = roster.now - DEAD_SECONDS * 1000
    names = sorted(
        str(strict_json.loads(roster.details.get(node, "{}")).get("name", node))
        for node, heard in roster.heard.items()
        if heard > dead_at
    )
    if not names:
        advice = "Has the server another GTOWER_REDIS_URL, or is it cut off? Its log says so."
        return Observation(subject, "warn", "none has been heard of", advice)
    return Observation(subject, "ok", f"{len(names)}: {', '.join(names)}")


def _failed(subject: str, problem: RedisAway) -> Observation:
    said, _, _ = str(problem).partition(" script: ")
    advice = next(advice for word, advice in _ADVICE if word in said)
    return Observation(subject, "fail", said, advice)

"""A connection to Redis: each command has its own answer, whatever became of those before it."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.cluster.connection import Connection, RedisAway, Script
from tests.redis_server import RedisServer

pytestmark = pytest.mark.gen_test

Connect = Callable[[RedisServer, float], Connection]

SLOW = ("BLPOP", "nothing", 60)


@pytest.fixture
def connect(io_loop: IOLoop) -> Iterator[Connect]:
    """Give a function that returns a connection whose answers may take so many seconds."""
    made: list[Connection] = []

    def connection(server: RedisServer, answer_seconds: float) -> Connection:
        made.append(Connection(server.url, answer_seconds))
        return made[-1]

    yield connection
    for one in made:
        io_loop.run_sync(one.close)


async def test_answers_are_text_numbers_nothing_and_lists(
    connect: Connect, redis_server: RedisServer
) -> None:
    connection = connect(redis_server, 30)
    assert await connection.ask("SET", "name", "Zoë\0 \r\n", "PX", 60_000) == "OK"
    assert await connection.ask("GET", "name") == "Zoë\0 \r\n"
    assert await connection.ask("INCRBY", "number", 7) == 7
    assert await connection.ask("MGET", "number", "nothing") == ["7", None]


async def test_commands_of_several_tasks_do_not_get_each_others_answers(
    connect: Connect, redis_server: RedisServer
) -> None:
    connection = connect(redis_server, 30)
    answers = await asyncio.gather(*(connection.ask("ECHO", f"{one}") for one in range(50)))
    assert answers == [f"{one}" for one in range(50)]


async def test_a_refusal_among_several_answers_leaves_none_for_the_next_command(
    connect: Connect, redis_server: RedisServer
) -> None:
    connection = connect(redis_server, 30)
    commands = [("SET", "text", "a"), ("INCR", "text"), ("GET", "text")]
    with pytest.raises(RedisAway, match=r"^ResponseError: value is not an integer"):
        await connection.ask_all(commands)
    assert await connection.ask("ECHO", "next") == "next"


async def test_an_answer_that_is_late_is_not_taken_for_that_of_the_next_command(
    connect: Connect, own_redis: RedisServer
) -> None:
    connection = connect(own_redis, 0.2)
    await connection.ask("PING")
    own_redis.freeze()
    try:
        with pytest.raises(RedisAway, match=r"^TimeoutError: no answer within 0\.2 s$"):
            await connection.ask("ECHO", "late")
    finally:
        own_redis.thaw()
    patient = connect(own_redis, 30)
    assert await patient.ask("ECHO", "other") == "other"
    assert await _until_answered(connection) == "next"


async def _until_answered(connection: Connection) -> str:
    while True:  # on a busy machine even this may take longer than it may here
        try:
            return str(await connection.ask("ECHO", "next"))
        except RedisAway:
            continue


async def test_the_answer_to_a_command_that_was_given_up_is_not_that_of_the_next(
    connect: Connect, redis_server: RedisServer
) -> None:
    connection, other = connect(redis_server, 30), connect(redis_server, 30)
    number = await connection.ask("CLIENT", "ID")
    waiting = asyncio.ensure_future(connection.ask(*SLOW))
    while "cmd=blpop" not in await other.ask("CLIENT", "LIST", "ID", number):
        continue
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await connection.ask("ECHO", "next") == "next"


async def test_it_connects_anew_to_a_server_that_has_been_away(
    connect: Connect, own_redis: RedisServer
) -> None:
    connection = connect(own_redis, 30)
    await connection.ask("SET", "name", "kept")
    own_redis.stop()
    for _ in range(2):
        with pytest.raises(RedisAway, match=r"^ConnectionError: "):
            await connection.ask("GET", "name")
    own_redis.start()
    assert await connection.ask("GET", "name") == "kept"


async def test_a_script_runs_also_where_nobody_has_run_it_before(
    connect: Connect, redis_server: RedisServer
) -> None:
    connection = connect(redis_server, 30)
    script = Script("return {KEYS[1], ARGV[1], #ARGV}")
    for _ in range(2):
        assert await connection.run(script, ["key"], ["a", 2]) == ["key", "a", 2]
    await connection.ask("SCRIPT", "FLUSH")
    assert await connection.run(script, ["key"], ["b"]) == ["key", "b", 1]


async def test_a_script_that_fails_is_a_refusal(
    connect: Connect, redis_server: RedisServer
) -> None:
    connection = connect(redis_server, 30)
    with pytest.raises(RedisAway, match=r"^ResponseError: .*no such thing"):
        await connection.run(Script("return redis.error_reply('no such thing')"), [], [])
    assert await connection.ask("ECHO", "next") == "next"

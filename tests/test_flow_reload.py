"""Settings that are read anew while the server goes on: all of them or none, nobody cut off."""

import json
import signal
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from gtower_realtime.application import Application
from gtower_realtime.settings import SettingsError
from gtower_realtime.tokens import sign
from tests.server_process import ServerProcess
from tests.service_manager import FakeServiceManager
from tests.socketio_wire import Wire, open_client, open_wire

pytestmark = pytest.mark.gen_test

OLD_KEY = "old-0123456789abcdefghij"
NEW_KEY = "new-0123456789abcdefghij"
OLD_SECRET = "old-" + "x" * 40
NEW_SECRET = "new-" + "x" * 40


async def status(
    url: str, path: str = "/websocket/status", body: str | None = None, **headers: str
) -> int:
    """Ask; return the status of the answer."""
    answer = await AsyncHTTPClient().fetch(
        url + path,
        method="GET" if body is None else "POST",
        body=body,
        headers=headers,
        raise_error=False,
    )
    return answer.code


def change(application: Application, **environ: str) -> None:
    """Reload with other settings than the application was made with."""
    application.reload(application.settings.reloaded(environ))


async def join(client: Wire, room: str) -> str:
    """Join; return ``ok`` or the code of the refusal."""
    [answer] = await client.ask("joinRoom", room)
    return "ok" if answer["ok"] else str(answer["error"]["code"])


@pytest.mark.usefixtures("http_server")
class TestInOneProcess:
    async def test_keys_and_origins_hold_from_the_next_request_on(
        self, application: Application, base_url: str
    ) -> None:
        assert await status(base_url) == 200
        change(application, GTOWER_API_KEYS=f"a:read:{NEW_KEY}", CORS_ORIGIN="https://a.example")
        assert await status(base_url) == 401
        assert await status(base_url, **{"X-API-Key": NEW_KEY}) == 200
        # Only without keys the name of the host is checked.
        assert await status(base_url, **{"X-API-Key": NEW_KEY, "Host": "crm.example.com"}) == 200
        for origin, code in (("https://b.example", 403), ("https://a.example", 200)):
            assert await status(base_url, **{"X-API-Key": NEW_KEY, "Origin": origin}) == code
        with pytest.raises(HTTPClientError) as caught:
            async with open_client(base_url, Origin="https://b.example"):
                pass
        assert caught.value.code == 403
        async with open_client(base_url, Origin="https://a.example"):
            pass
        change(application)
        assert await status(base_url, Origin="https://b.example") == 200

    async def test_limits_hold_for_whoever_is_connected(
        self, application: Application, base_url: str
    ) -> None:
        async with open_client(base_url) as client, open_client(base_url) as other:
            assert await join(client, "a") == await join(client, "b") == "ok"
            change(
                application,
                GTOWER_MAX_ROOMS_PER_CLIENT="2",
                GTOWER_MAX_CONNECTIONS="1",
                GTOWER_RATE_EVENTS="1000/1000",
            )
            assert await join(client, "c") == "too_many_rooms"
            assert await join(other, "c") == "ok"
            with pytest.raises(HTTPClientError) as caught:
                async with open_client(base_url):
                    pass
            assert caught.value.code == 503
            change(application)
            assert await join(client, "c") == "ok"
            async with open_client(base_url):
                pass

    async def test_limits_that_were_announced_hold_for_new_connections(
        self, application: Application, base_url: str
    ) -> None:
        async with open_wire(base_url) as old:
            change(application, GTOWER_MAX_MESSAGE_BYTES="20000", GTOWER_PING_INTERVAL="7")
            async with open_wire(base_url) as new:
                assert (old.handshake["maxPayload"], new.handshake["maxPayload"]) == (
                    1_000_000,
                    20_000,
                )
                assert (old.handshake["pingInterval"], new.handshake["pingInterval"]) == (
                    25_000,
                    7_000,
                )

    async def test_the_size_of_bodies_and_the_rate_of_a_key_change(
        self, application: Application, base_url: str
    ) -> None:
        path = "/websocket/event/broadcast/tick"
        change(
            application,
            GTOWER_MAX_BODY_BYTES="10",
            GTOWER_API_KEYS=f"a:publish:{NEW_KEY}",
            GTOWER_RATE_API="0.001/2",
        )
        key = {"X-API-Key": NEW_KEY, "Content-Type": "application/json"}
        assert await status(base_url, path, '{"text":"too long"}', **key) == 413
        assert await status(base_url, path, "{}", **key) == 201
        assert await status(base_url, path, "{}", **key) == 429
        change(application, GTOWER_API_KEYS=f"a:publish:{NEW_KEY}")
        assert await status(base_url, path, '{"text":"too long"}', **key) == 201

    @pytest.mark.parametrize("environ", [{"GTOWER_API_KEYS": f"a:admin:{OLD_KEY}"}])
    async def test_who_watches_the_dashboard_has_to_show_a_key_that_is_good_now(
        self, application: Application, base_url: str
    ) -> None:
        path = "/dashboard/socket.io/"
        async with open_wire(base_url, path=path) as viewer:
            await viewer.join(payload={"key": OLD_KEY})
            change(application, GTOWER_API_KEYS=f"a:admin:{OLD_KEY}", GTOWER_DRAIN_SECONDS="3")
            assert (await viewer.next_event())[0] == "numbers"
            change(application, GTOWER_API_KEYS=f"a:admin:{NEW_KEY}")
            assert await viewer.closing() == (4200, "the API keys have changed")
        for key, answer in ((OLD_KEY, "44"), (NEW_KEY, "40")):
            async with open_wire(base_url, path=path) as viewer:
                await viewer.say(f"40{json.dumps({'key': key})}")
                assert str(await viewer.hear())[:2] == answer
        async with open_wire(base_url, path=path, Host="crm.example.com"):
            pass
        change(application)
        with pytest.raises(HTTPClientError) as caught:
            async with open_wire(base_url, path=path, Host="crm.example.com"):
                pass
        assert caught.value.code == 403

    @pytest.mark.parametrize("environ", [{"GTOWER_JWT_SECRET": OLD_SECRET}])
    async def test_tokens_are_checked_with_the_new_key_and_nobody_is_cut_off(
        self, application: Application, base_url: str
    ) -> None:
        claims = {"sub": "u1", "exp": 4_000_000_000, "rooms": ["sales"]}
        old, new = sign(claims, OLD_SECRET), sign(claims, NEW_SECRET)
        async with open_wire(base_url) as client:
            await client.join(payload={"token": old})
            change(application, GTOWER_JWT_SECRET=NEW_SECRET)
            assert await join(client, "sales") == "ok"
            for token, answer in ((old, "44"), (new, "40")):
                async with open_wire(base_url) as another:
                    await another.say(f"40{json.dumps({'token': token})}")
                    assert str(await another.hear())[:2] == answer
            [refreshed] = await client.ask("auth:refresh", {"token": new})
            assert refreshed["ok"]

    @pytest.mark.parametrize("environ", [{"GTOWER_JWT_SECRET": OLD_SECRET}])
    async def test_a_key_that_checks_nothing_changes_nothing(
        self, application: Application, base_url: str
    ) -> None:
        pem = "-----BEGIN PUBLIC KEY-----\\nMCowBQ==\\n-----END PUBLIC KEY-----"
        settings = application.settings
        with pytest.raises(SettingsError):
            change(application, GTOWER_JWT_PUBLIC_KEY=pem, CORS_ORIGIN="https://a.example")
        assert application.settings is settings
        assert await status(base_url, Origin="https://b.example") == 200


async def test_a_signal_has_all_read_anew_or_nothing_and_the_service_manager_knows(
    tmp_path: Path,
) -> None:
    manager = FakeServiceManager.beneath(tmp_path)
    file = tmp_path / "settings.env"
    keys = tmp_path / "keys"

    async def reload() -> None:
        process.send(signal.SIGHUP)
        assert "MONOTONIC_USEC" in await manager.next("RELOADING")
        assert (await manager.next("READY"))["STATUS"].startswith("active: ")

    def write(path: Path, text: str) -> None:
        path.write_text(text)

    write(file, "CORS_ORIGIN=https://a.example\n")
    write(keys, f"crm:read:{OLD_KEY}")
    process = ServerProcess(
        {
            "NOTIFY_SOCKET": manager.address,
            "GTOWER_DATABASE_URL": "memory:",
            "GTOWER_SETTINGS_FILE": str(file),
            "GTOWER_API_KEYS_FILE": str(keys),
        }
    )
    await process.start()
    try:
        await manager.next("READY")
        old, new = {"X-API-Key": OLD_KEY}, {"X-API-Key": NEW_KEY}
        assert await status(process.url, **old, Origin="https://b.example") == 403

        write(file, "CORS_ORIGIN=nowhere\n")
        write(keys, f"crm:read:{NEW_KEY}")
        await reload()
        assert [await status(process.url, **key) for key in (old, new)] == [200, 401]

        write(file, "CORS_ORIGIN=https://b.example\n")
        await reload()
        assert [await status(process.url, **key) for key in (old, new)] == [401, 200]
        assert await status(process.url, **new, Origin="https://b.example") == 200

        answer = await AsyncHTTPClient().fetch(f"{process.url}/metrics", headers=new)
        for outcome in ("refused", "done"):
            line = f'gtower_reloads_total{{outcome="{outcome}"}} 1.0\n'.encode()
            assert line in answer.body
        assert await process.stop() == 0
    finally:
        await process.kill()
        manager.close()

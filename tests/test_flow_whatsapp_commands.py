"""The commands of the webhook, against a server that serves."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.cli import main
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.whatsapp.simulation import MESSAGE_TYPES, STATUSES
from tests.conftest import ConnectClient
from tests.whatsapp_webhooks import ENVIRON, OLD_SECRET, SECRET, sample, signed

pytestmark = pytest.mark.gen_test

ADMIN_KEY = "a-key-of-the-operators"
SIGNATURE = "X-Hub-Signature-256"

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def environ() -> dict[str, str]:
    return {**ENVIRON, "GTOWER_API_KEYS": f"ops:admin:{ADMIN_KEY}"}


@pytest.fixture
def run(io_loop: IOLoop) -> Run:
    """Give what runs `whatsapp` with arguments, beside the loop that serves."""

    async def run(*arguments: str, **environ: str | None) -> Result:
        own = {name: None for name in os.environ if name.startswith("GTOWER_")}
        env = {**own, **ENVIRON, **environ}
        return await asyncio.to_thread(
            partial(CliRunner().invoke, main, ["whatsapp", *arguments], env=env)
        )

    return run


async def test_the_server_is_where_the_settings_say(run: Run) -> None:
    elsewhere = {"GTOWER_HOST": "127.0.0.1", "GTOWER_PORT": "1"}
    simulated = await run("simulate", "text", **elsewhere)
    assert simulated.exit_code == os.EX_UNAVAILABLE
    assert "no answer from http://127.0.0.1:1/whatsapp/webhook" in simulated.output
    replayed = await run("replay", **elsewhere)
    assert "no answer from http://127.0.0.1:1/whatsapp/replay" in replayed.output
    hidden = await run("simulate", "text", GTOWER_HOST="unix:/run/gtower.sock")
    assert hidden.exit_code == os.EX_USAGE
    assert "listens on unix:/run/gtower.sock; --url names" in hidden.output


# verify


async def test_settings_are_verified_without_a_server(run: Run) -> None:
    result = await run("verify")
    assert (result.exit_code, result.output) == (
        0,
        "The webhook is set up with 2 app secrets.\n",
    )


async def test_without_settings_there_is_nothing_to_verify(run: Run) -> None:
    nothing = {"GTOWER_WHATSAPP_APP_SECRET": None, "GTOWER_WHATSAPP_VERIFY_TOKEN": None}
    for command in (["verify"], ["simulate", "text"]):
        result = await run(*command, **nothing)
        assert result.exit_code == os.EX_CONFIG
        assert "so there is no webhook" in result.output


@pytest.mark.parametrize(("secret", "number"), [(SECRET, 1), (OLD_SECRET, 2)])
async def test_a_signature_is_verified_and_the_secret_told(
    run: Run, tmp_path: Path, secret: str, number: int
) -> None:
    file = tmp_path / "body"
    file.write_bytes(sample("message_text"))
    signature = signed(sample("message_text"), secret)[SIGNATURE]
    result = await run("verify", "--body", str(file), "--signature", signature, "--json")
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "appSecrets": 2,
        "resolverUrl": None,
        "signedWith": number,
    }
    file.write_bytes(sample("message_text") + b" ")
    wrong = await run("verify", "--body", str(file), "--signature", signature)
    assert wrong.exit_code == os.EX_DATAERR
    assert "not that of these bytes" in wrong.output
    assert secret not in wrong.output


async def test_a_body_without_a_signature_is_a_wrong_line(run: Run) -> None:
    result = await run("verify", "--signature", "sha256=0")
    assert result.exit_code in {2, os.EX_USAGE}
    assert "belong together" in result.output


@pytest.mark.usefixtures("http_server")
async def test_a_url_is_verified_with_metas_handshake(run: Run, base_url: str) -> None:
    url = f"{base_url}/whatsapp/webhook"
    result = await run("verify", "--url", url)
    assert result.exit_code == 0
    assert f"{url} answers Meta's handshake.\n" in result.output
    refused = await run("verify", "--url", url, GTOWER_WHATSAPP_VERIFY_TOKEN="another")
    assert refused.exit_code == os.EX_PROTOCOL
    assert "answers 403 and not the challenge" in refused.output
    assert "another" not in refused.output.replace("another verify token", "")


async def test_a_url_that_is_not_there_is_told(run: Run) -> None:
    result = await run("verify", "--url", "http://127.0.0.1:1/whatsapp/webhook")
    assert result.exit_code == os.EX_UNAVAILABLE
    assert "no answer from http://127.0.0.1:1/whatsapp/webhook" in result.output
    assert "token of ours" not in result.output
    wrong = await run("verify", "--url", "file:///etc/passwd")
    assert wrong.exit_code in {2, os.EX_USAGE}


# simulate


@pytest.mark.parametrize("kind", [*MESSAGE_TYPES, *STATUSES])
async def test_each_kind_of_webhook_is_simulated_and_published(
    run: Run,
    http_server: HttpServer,
    base_url: str,
    connect_client: ConnectClient,
    kind: str,
) -> None:
    agent = await connect_client()
    await agent.ask("joinWhatsAppGeneral")
    url = f"{base_url}/whatsapp/webhook"
    result = await run(
        "simulate", kind, "--url", url, "--id", "m1", "--customer", "c42", "--text", "Hi", "--json"
    )
    assert (result.exit_code, json.loads(result.output)) == (0, {"id": "m1"})
    if kind in MESSAGE_TYPES:
        message = await agent.next_event("whatsappMessage")
        assert (message["whatsappMessageId"], message["messageType"]) == ("m1", kind)
        assert message["content"]
    else:
        status = await agent.next_event("whatsappMessageStatus")
        assert (status["messageId"], status["status"], status["customerId"]) == ("m1", kind, "c42")


@pytest.mark.usefixtures("http_server")
async def test_a_simulation_that_is_refused_says_so(run: Run, base_url: str) -> None:
    url = f"{base_url}/whatsapp/webhook"
    result = await run("simulate", "text", "--url", url, GTOWER_WHATSAPP_APP_SECRET="another")
    assert result.exit_code == os.EX_PROTOCOL
    assert f"{url} answers 401" in result.output


async def test_a_simulation_can_be_printed_with_its_signature(run: Run) -> None:
    result = await run("simulate", "text", "--print", "--json")
    shown = json.loads(result.output)
    assert shown["signature"] == signed(shown["body"].encode())[SIGNATURE]
    lines = (await run("simulate", "read", "--print")).output.splitlines()
    assert lines[0].startswith(f"{SIGNATURE}: sha256=")
    assert json.loads(lines[2])["object"] == "whatsapp_business_account"


# replay


async def test_what_was_set_aside_is_replayed_and_what_was_published_stays_once(
    run: Run, http_server: HttpServer, base_url: str, application: Application
) -> None:
    simulated = [
        await run("simulate", "text", "--url", f"{base_url}/whatsapp/webhook", "--id", message_id)
        for message_id in ("m1", "m2")
    ]
    assert [result.exit_code for result in simulated] == [0, 0]
    while application.metrics.registry.get_sample_value("gtower_whatsapp_waiting"):
        await application.journal.settled()
    for since, count in ((None, 0), ("2026-01-01T00:00Z", 2), ("2999-01-01", 0)):
        given = [] if since is None else ["--since", since]
        result = await run("replay", "--url", base_url, *given, GTOWER_API_KEY=ADMIN_KEY)
        assert (result.exit_code, result.output) == (
            0,
            f"Webhooks to be worked through again: {count}\n",
        )
    while application.metrics.registry.get_sample_value("gtower_whatsapp_waiting"):
        await application.journal.settled()
    history = await application.service.history("whatsapp:general")
    assert [event["data"]["whatsappMessageId"] for event in history["events"]] == ["m1", "m2"]


@pytest.mark.usefixtures("http_server")
async def test_a_replay_that_is_refused_says_why(run: Run, base_url: str, tmp_path: Path) -> None:
    refused = await run("replay", "--url", base_url)
    assert refused.exit_code == os.EX_PROTOCOL
    assert "answers 401" in refused.output
    key = tmp_path / "key"
    key.write_text(f"{ADMIN_KEY}\n")
    wrong = await run("replay", "--url", base_url, "--key-file", str(key), "--since", "yesterday")
    assert wrong.exit_code == os.EX_PROTOCOL
    assert "since: Not an ISO 8601 time" in wrong.output
    good = await run("replay", "--url", base_url, "--key-file", str(key), "--json")
    assert json.loads(good.output) == {
        "success": True,
        "message": "Webhooks replayed",
        "replayed": 0,
    }

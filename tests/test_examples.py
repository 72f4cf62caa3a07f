"""The examples as back-end developers meet them: in process, and as a program."""

import asyncio
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tornado import web
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer

from examples.customers_service import CustomersService
from examples.embedded_server import PretendWhatsApp, add_back_end
from examples.whatsapp_service import WhatsAppService
from gtower_realtime.application import Application
from gtower_realtime.errors import StoreUnavailable
from tests.conftest import PATIENCE_SECONDS, ConnectClient, ConnectedClient
from tests.fakes import TS, FakeWorld, make_world

ROOT = Path(__file__).parent.parent


@pytest.fixture
def app(application: Application) -> web.Application:
    """Give the server with the example's back-end in it."""
    add_back_end(application)
    return application.tornado_application


async def world_with_agent(*rooms: str) -> FakeWorld:
    """Return a server with one client, `agent`, in ``rooms``."""
    world = await make_world()
    await world.connect("agent")
    for room in rooms:
        await world.service.join_room("agent", room)
    world.transport.forget()
    return world


async def world_with_full_disk() -> FakeWorld:
    """Return a server that cannot record anything."""
    world = await make_world()
    world.store.problem = StoreUnavailable("The disk is full.")
    return world


# The WhatsApp service


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "rooms",
    [
        ["whatsapp:general"],
        ["whatsapp:customer:c42"],
        ["whatsapp:general", "whatsapp:customer:c42"],
    ],
)
async def test_an_agent_sees_a_sent_message_once_whichever_rooms_it_is_in(
    rooms: list[str],
) -> None:
    world = await world_with_agent(*rooms)
    whatsapp = WhatsAppService(world.service, PretendWhatsApp())
    assert await whatsapp.send_text("c42", "+34600000000", "Good morning!") == "wamid.1"
    message = {
        "messageId": "wamid.1",
        "customerId": "c42",
        "content": "Good morning!",
        "timestamp": TS,
    }
    assert world.received("agent") == [("whatsappMessageSent", message)]


@pytest.mark.gen_test
async def test_an_agent_of_another_customer_does_not_see_the_message() -> None:
    world = await world_with_agent("whatsapp:customer:c43")
    await WhatsAppService(world.service, PretendWhatsApp()).send_text("c42", "+34600000000", "Hi")
    assert world.received("agent") == []


@pytest.mark.gen_test
async def test_a_message_counts_as_sent_when_the_agents_cannot_be_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = await world_with_full_disk()
    whatsapp = WhatsAppService(world.service, PretendWhatsApp())
    assert await whatsapp.send_text("c42", "+34600000000", "Hi") == "wamid.1"
    assert caplog.messages == ["agents were not told of wamid.1: store_unavailable"]


# The customers service


@pytest.mark.gen_test
async def test_a_new_name_is_told_to_everyone() -> None:
    world = await world_with_agent()
    customers = CustomersService(world.service)
    assert await customers.update("c42", {"name": "Ana"}) == {"name": "Ana"}
    news = {"customerId": "c42", "customer": {"name": "Ana"}, "timestamp": TS}
    assert world.received("agent") == [("customerUpdated", news)]


@pytest.mark.gen_test
async def test_any_other_change_is_told_to_the_customers_room_with_the_whole_customer() -> None:
    world = await world_with_agent("customer:c42")
    await world.connect("other")
    customers = CustomersService(world.service)
    await customers.update("c42", {"name": "Ana"})
    world.transport.forget()
    await customers.update("c42", {"city": "Vigo"})
    news = {"customerId": "c42", "customer": {"name": "Ana", "city": "Vigo"}, "timestamp": TS}
    assert world.received("agent") == [("customerUpdated", news)]
    assert world.received("other") == []


@pytest.mark.gen_test
async def test_what_does_not_change_is_not_told() -> None:
    world = await world_with_agent("customer:c42")
    customers = CustomersService(world.service)
    await customers.update("c42", {"name": "Ana"})
    world.transport.forget()
    assert await customers.update("c42", {"name": "Ana"}) == {"name": "Ana"}
    assert world.received("agent") == []


@pytest.mark.gen_test
async def test_a_change_is_kept_when_the_agents_cannot_be_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = await world_with_full_disk()
    customers = CustomersService(world.service)
    await customers.update("c42", {"name": "Ana"})
    assert await customers.update("c42", {"city": "Vigo"}) == {"name": "Ana", "city": "Vigo"}
    assert set(caplog.messages) == {"agents were not told of customer c42: store_unavailable"}


# The embedded server


async def send_form(base_url: str, method: str, path: str, **form: str) -> bytes:
    """Send a form and return the body of the answer, which must be a success."""
    answer = await AsyncHTTPClient().fetch(
        base_url + path,
        method=method,
        body=urlencode(form),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    return bytes(answer.body)


@pytest.mark.gen_test
async def test_a_browser_gets_what_the_back_end_in_the_same_process_sends(
    base_url: str, connect_client: ConnectClient
) -> None:
    agent = await connect_client()
    await agent.ask("joinWhatsAppGeneral")
    await agent.ask("joinWhatsAppCustomer", "c42")
    path = "/demo/customers/c42"
    form = {"number": "+34600000000", "text": "Good morning!"}
    sent = await send_form(base_url, "POST", f"{path}/messages", **form)
    assert sent == b'{"messageId": "wamid.1"}'
    message = await agent.next_event("whatsappMessageSent")
    assert (message["messageId"], message["content"]) == ("wamid.1", "Good morning!")
    # The very next event is the next change: the message came in one copy.
    await send_form(base_url, "PUT", path, name="Ana")
    assert (await agent.next_event())["customer"] == {"name": "Ana"}


@pytest.mark.gen_test
async def test_the_realtime_servers_own_endpoints_are_still_there(
    base_url: str, http_server: HTTPServer
) -> None:
    answer = await AsyncHTTPClient().fetch(f"{base_url}/readyz")
    assert answer.body == b'{"status":"ready"}'


@pytest.mark.gen_test
async def test_the_example_server_serves_until_sigterm(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "examples.embedded_server",
        cwd=ROOT,
        env={**os.environ, "GTOWER_PORT": "0", "GTOWER_STATE_DIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        started = re.fullmatch(r"Serving on (http://localhost:\d+)\n", line.decode())
        assert started is not None
        agent = ConnectedClient()
        agent.socket.on("customerUpdated", agent.events.put)
        await agent.socket.connect(started[1], transports=["websocket"])
        await send_form(started[1], "PUT", "/demo/customers/c42", name="Ana")
        news = await asyncio.wait_for(agent.events.get(), PATIENCE_SECONDS)
        assert news["customer"] == {"name": "Ana"}
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
        await agent.socket.disconnect()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

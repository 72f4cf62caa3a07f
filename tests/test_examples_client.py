"""The examples that use the Python client, as programs and under their frameworks' test clients."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.flask_back_end import create_app
from gtower_realtime.client import RealtimeClient, RetryPolicy
from gtower_realtime.http1.server import HttpServer
from tests.conftest import PATIENCE_SECONDS, ConnectClient

pytestmark = pytest.mark.gen_test

ROOT = Path(__file__).parent.parent


async def run(base_url: str, *arguments: str) -> tuple[int | None, str, str]:
    """Run Python with the server's address; return exit status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "REALTIME_URL": base_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, output.decode(), errors.decode()


async def test_the_script_tells_a_room(base_url: str, connect_client: ConnectClient) -> None:
    page = await connect_client()
    await page.ask("joinRoom", "sales")
    ran = await run(base_url, "-m", "examples.order_script", "sales", "1042", "shipped")
    assert ran == (0, "1 connections have it, 0 get it later\n", "")
    order = await page.next_event("orderUpdated")
    assert (order["orderId"], order["state"]) == (1042, "shipped")


async def test_the_script_fails_with_the_reason(base_url: str, http_server: HttpServer) -> None:
    status, output, errors = await run(
        base_url, "-m", "examples.order_script", "\x07", "1042", "shipped"
    )
    assert (status, output) == (1, "")
    assert errors.startswith("invalid_name: roomName in the path ")


def post_to_flask(client: RealtimeClient) -> Any:
    with create_app(client).test_client() as browser:
        answer = browser.post("/orders/1042/paid")
        return answer.status_code, answer.json


async def test_the_pages_of_the_flask_back_end_are_told(
    base_url: str, connect_client: ConnectClient
) -> None:
    page = await connect_client()
    await page.ask("joinRoom", "sales")
    with RealtimeClient(base_url) as client:
        answer = await asyncio.to_thread(post_to_flask, client)
    assert answer == (200, {"orderId": 1042, "state": "paid"})
    assert (await page.next_event("orderUpdated"))["state"] == "paid"


async def test_a_payment_is_kept_when_the_pages_cannot_be_told(
    base_url: str, caplog: pytest.LogCaptureFixture, http_server: HttpServer
) -> None:
    # Nothing is at that path of the server, so every call is refused.
    with RealtimeClient(f"{base_url}/nowhere", retries=RetryPolicy(tries=1)) as client:
        answer = await asyncio.to_thread(post_to_flask, client)
    assert answer == (200, {"orderId": 1042, "state": "paid"})
    (message,) = [each for each in caplog.messages if each.startswith("pages were not told")]
    assert message.startswith("pages were not told of order 1042: not_found: ")


async def test_the_pages_of_the_django_back_end_are_told_after_the_commit(
    base_url: str, connect_client: ConnectClient
) -> None:
    page = await connect_client()
    await page.ask("joinRoom", "sales")
    script = """
from examples import django_back_end
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
answer = Client().post("/orders/1042/paid")
print(answer.status_code, answer.json())
"""
    ran = await run(base_url, "-c", script)
    assert ran == (0, "200 {'orderId': 1042, 'state': 'paid'}\n", "")
    assert (await page.next_event("orderUpdated"))["state"] == "paid"


async def test_the_django_back_end_starts(base_url: str, http_server: HttpServer) -> None:
    status, output, _ = await run(base_url, "-m", "examples.django_back_end", "check")
    assert (status, output) == (0, "System check identified no issues (0 silenced).\n")

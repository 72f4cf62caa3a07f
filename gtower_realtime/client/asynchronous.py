"""The client for code on asyncio: the same calls as the blocking one, to be awaited."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from gtower_realtime.client import calls
from gtower_realtime.client.calls import Call, Pages
from gtower_realtime.client.connection import LIMITS, Connection, presented
from gtower_realtime.client.retries import Exchange, RetryPolicy

P = ParamSpec("P")
T = TypeVar("T")
Page = TypeVar("Page")
Item = TypeVar("Item")


def _performing(
    build: Callable[P, Call[T]],
) -> "Callable[Concatenate[AsyncRealtimeClient, P], Coroutine[Any, Any, T]]":
    async def method(self: "AsyncRealtimeClient", /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self.perform(build(*arguments, **named))

    presented(method, build)
    return method


def _iterating(
    build: Callable[P, Pages[Page, Item]],
) -> "Callable[Concatenate[AsyncRealtimeClient, P], AsyncIterator[Item]]":
    def method(
        self: "AsyncRealtimeClient", /, *arguments: P.args, **named: P.kwargs
    ) -> AsyncIterator[Item]:
        return self.go_through(build(*arguments, **named))

    presented(method, build)
    return method


class AsyncRealtimeClient:
    """Calls the HTTP API of a server, without holding up the event loop; see `RealtimeClient`.

    One client is for one event loop. :meth:`close`, or the end of an ``async with`` block, lets go
    of its connections. What goes through pages is for ``async for``.
    """

    def __init__(
        self,
        url: str = "http://localhost:3000",
        *,
        api_key: str | None = None,
        timeout: float = 10.0,
        retries: RetryPolicy | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._connection = Connection.to(url, api_key, timeout)
        self._retries = retries or RetryPolicy()
        socket = self._connection.socket
        self._http = httpx.AsyncClient(
            headers=dict(self._connection.headers),
            verify=verify,
            limits=LIMITS,
            transport=None
            if socket is None
            else httpx.AsyncHTTPTransport(uds=socket, limits=LIMITS),
        )

    def __repr__(self) -> str:
        return f"AsyncRealtimeClient({self._connection.shown!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def perform(self, call: Call[T]) -> T:
        """Make a call, again if need be, and return what it reads from the answer."""
        exchange = Exchange(call, self._retries)
        while True:
            delay = exchange.settle(await self._try_once(call))
            if delay is None:
                return exchange.result
            await asyncio.sleep(delay)

    async def _try_once(self, call: Call[T]) -> httpx.Response | httpx.RequestError:
        try:
            return await self._http.request(**self._connection.request(call))
        except httpx.RequestError as problem:
            return problem

    async def go_through(self, pages: Pages[Page, Item]) -> AsyncIterator[Item]:
        """Yield what is on the pages, each asked for when it is needed."""
        call: Call[Page] | None = pages.first
        while call is not None:
            page = await self.perform(call)
            for item in pages.items(page):
                yield item
            call = pages.following(page)

    notify_client = _performing(calls.notify_client)
    notify_room = _performing(calls.notify_room)
    notify_user = _performing(calls.notify_user)
    broadcast_notification = _performing(calls.broadcast_notification)
    send_chat_to_client = _performing(calls.send_chat_to_client)
    send_chat_to_room = _performing(calls.send_chat_to_room)
    send_chat_to_user = _performing(calls.send_chat_to_user)
    send_event_to_client = _performing(calls.send_event_to_client)
    send_event_to_room = _performing(calls.send_event_to_room)
    send_event_to_user = _performing(calls.send_event_to_user)
    broadcast_event = _performing(calls.broadcast_event)
    send_whatsapp_status = _performing(calls.send_whatsapp_status)
    send_whatsapp_message_update = _performing(calls.send_whatsapp_message_update)
    send_conversation_update = _performing(calls.send_conversation_update)
    publish = _performing(calls.publish)
    publish_batch = _performing(calls.publish_batch)

    status = _performing(calls.status)
    readiness = _performing(calls.readiness)
    metrics = _performing(calls.metrics)
    clients = _performing(calls.clients)
    iterate_clients = _iterating(calls.iterate_clients)
    client_status = _performing(calls.client_status)
    user = _performing(calls.user)
    rooms = _performing(calls.rooms)
    iterate_rooms = _iterating(calls.iterate_rooms)
    room = _performing(calls.room)
    presence = _performing(calls.presence)
    history = _performing(calls.history)
    iterate_history = _iterating(calls.iterate_history)
    position = _performing(calls.position)
    trace = _performing(calls.trace)
    analytics = _performing(calls.analytics)

    put_into_room = _performing(calls.put_into_room)
    take_out_of_room = _performing(calls.take_out_of_room)
    delete_history = _performing(calls.delete_history)
    disconnect_client = _performing(calls.disconnect_client)
    disconnect_user = _performing(calls.disconnect_user)

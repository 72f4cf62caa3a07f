"""The client for code that waits for each answer: Django, Flask, scripts, threads."""

import ssl
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

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
) -> "Callable[Concatenate[RealtimeClient, P], T]":
    def method(self: "RealtimeClient", /, *arguments: P.args, **named: P.kwargs) -> T:
        return self.perform(build(*arguments, **named))

    presented(method, build)
    return method


def _iterating(
    build: Callable[P, Pages[Page, Item]],
) -> "Callable[Concatenate[RealtimeClient, P], Iterator[Item]]":
    def method(self: "RealtimeClient", /, *arguments: P.args, **named: P.kwargs) -> Iterator[Item]:
        return self.go_through(build(*arguments, **named))

    presented(method, build)
    return method


class RealtimeClient:
    """Calls the HTTP API of a server at ``url``: ``http://…``, ``https://…`` or ``unix:/path``.

    One client is for all threads of a process and keeps its connections open; it connects when it
    is first used, and :meth:`close`, or the end of a ``with`` block, lets go of them. ``timeout``
    is in seconds, for each of connecting, sending, and waiting for the answer of one try;
    ``retries`` says how often there is another. ``verify`` is as httpx has it. All calls raise
    subclasses of `RealtimeClientError`, and ValueError or TypeError for what cannot be sent.

    Calls that send take ``ack_seconds`` (at most 60) to wait until the clients' listeners have
    acknowledged, and an ``idempotency_key`` of yours (1 to 255 characters) instead of a new one.
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
        self._http = httpx.Client(
            headers=dict(self._connection.headers),
            verify=verify,
            limits=LIMITS,
            transport=None if socket is None else httpx.HTTPTransport(uds=socket, limits=LIMITS),
        )

    def __repr__(self) -> str:
        return f"RealtimeClient({self._connection.shown!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def perform(self, call: Call[T]) -> T:
        """Make a call, again if need be, and return what it reads from the answer."""
        exchange = Exchange(call, self._retries)
        while True:
            delay = exchange.settle(self._try_once(call))
            if delay is None:
                return exchange.result
            time.sleep(delay)

    def _try_once(self, call: Call[T]) -> httpx.Response | httpx.RequestError:
        try:
            return self._http.request(**self._connection.request(call))
        except httpx.RequestError as problem:
            return problem

    def go_through(self, pages: Pages[Page, Item]) -> Iterator[Item]:
        """Yield what is on the pages, each asked for when it is needed."""
        call: Call[Page] | None = pages.first
        while call is not None:
            page = self.perform(call)
            yield from pages.items(page)
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

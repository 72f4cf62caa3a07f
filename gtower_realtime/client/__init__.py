"""The client for back-ends: the HTTP API as Python calls, blocking and for asyncio.

    with RealtimeClient("http://localhost:3000", api_key=key) as realtime:
        receipt = realtime.send_event_to_room("sales", "orderUpdated", {"orderId": 1042})

Knows the API and nothing of the server. docs/python-client.md shows all of it.
"""

from gtower_realtime.client.answers import (
    Analytics,
    BatchReceipt,
    ClientPage,
    ClientStatus,
    ClusterAnswer,
    ConnectedClient,
    Disconnected,
    EventTrace,
    HistoryPage,
    LoggedEvent,
    MinuteCounts,
    PresentClient,
    Readiness,
    Receipt,
    RoomPage,
    RoomPresence,
    RoomSize,
    RoomSummary,
    ServerStatus,
    TracedClient,
    UserStatus,
)
from gtower_realtime.client.asynchronous import AsyncRealtimeClient
from gtower_realtime.client.blocking import RealtimeClient
from gtower_realtime.client.bodies import (
    ChatMessage,
    Notification,
    Publication,
    WhatsAppStatus,
)
from gtower_realtime.client.problems import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    RealtimeClientError,
    Refused,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
    Unauthorized,
    UnexpectedAnswer,
    UnknownClient,
)
from gtower_realtime.client.retries import RetryPolicy

__all__ = [
    "Analytics",
    "AsyncRealtimeClient",
    "BatchReceipt",
    "ChatMessage",
    "ClientPage",
    "ClientStatus",
    "ClusterAnswer",
    "Conflict",
    "ConnectedClient",
    "Disconnected",
    "EventTrace",
    "Forbidden",
    "HistoryPage",
    "InvalidRequest",
    "LoggedEvent",
    "MinuteCounts",
    "NotFound",
    "Notification",
    "PresentClient",
    "Publication",
    "RateLimited",
    "Readiness",
    "RealtimeClient",
    "RealtimeClientError",
    "Receipt",
    "Refused",
    "RetryPolicy",
    "RoomPage",
    "RoomPresence",
    "RoomSize",
    "RoomSummary",
    "ServerFailed",
    "ServerStatus",
    "ServerUnavailable",
    "ServerUnreachable",
    "TracedClient",
    "Unauthorized",
    "UnexpectedAnswer",
    "UnknownClient",
    "UserStatus",
    "WhatsAppStatus",
]

"""A Django back-end, in one file, whose pages see at once that an order is paid.

    REALTIME_API_KEY=… python -m examples.django_back_end runserver

In a project of yours the settings are in its settings module, and the view in an app.
"""

import logging
import os
import sys
from functools import partial

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from gtower_realtime.client import RealtimeClient, RealtimeClientError

if not settings.configured:
    settings.configure(
        DEBUG=True,
        ROOT_URLCONF=__name__,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        REALTIME_URL=os.environ.get("REALTIME_URL", "http://localhost:3000"),
        REALTIME_API_KEY=os.environ.get("REALTIME_API_KEY"),
    )
    django.setup()

logger = logging.getLogger(__name__)

# One client for all requests and threads; it connects when it is first used.
realtime = RealtimeClient(settings.REALTIME_URL, api_key=settings.REALTIME_API_KEY, timeout=2.0)


def mark_paid(request: HttpRequest, order_id: int) -> JsonResponse:
    """Save the payment, and tell the pages once it is committed."""
    with transaction.atomic():
        # … the payment is saved here. Pages that load it when they are told must find it: tell
        # them after the commit, and not at all if there is none.
        transaction.on_commit(partial(tell_pages, order_id))
    return JsonResponse({"orderId": order_id, "state": "paid"})


def tell_pages(order_id: int) -> None:
    """Send `orderUpdated`; what is saved stays saved if that fails."""
    try:
        realtime.send_event_to_room("sales", "orderUpdated", {"orderId": order_id, "state": "paid"})
    except RealtimeClientError as problem:
        logger.warning("pages were not told of order %d: %s", order_id, problem)


urlpatterns = [path("orders/<int:order_id>/paid", mark_paid)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)

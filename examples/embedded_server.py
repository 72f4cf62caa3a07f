"""A back-end and GTower Realtime in one process: ``python -m examples.embedded_server``.

Everything that `make run` serves is there, and two endpoints of the back-end's own.
"""

import asyncio
import itertools
import os
import signal
import sys

from tornado.web import RequestHandler

from examples.customers_service import CustomersService
from examples.whatsapp_service import WhatsAppService
from gtower_realtime import logs
from gtower_realtime.application import Application
from gtower_realtime.listeners import listen_tcp
from gtower_realtime.server import http_server
from gtower_realtime.settings import Settings


class PretendWhatsApp:
    """A `WhatsAppApi` that sends nothing and gives ids as if it did."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    async def send_text(self, number: str, text: str) -> str:
        """Return a new id."""
        return f"wamid.{next(self._numbers)}"


class MessagesHandler(RequestHandler):
    """``POST /demo/customers/:id/messages`` with the form fields ``number`` and ``text``."""

    def initialize(self, whatsapp: WhatsAppService) -> None:
        """Take the service that sends."""
        self._whatsapp = whatsapp

    async def post(self, customer_id: str) -> None:
        """Send a message and answer with its id."""
        number, text = self.get_body_argument("number"), self.get_body_argument("text")
        self.set_status(201)
        self.finish({"messageId": await self._whatsapp.send_text(customer_id, number, text)})


class CustomerHandler(RequestHandler):
    """``PUT /demo/customers/:id`` with form fields of any name."""

    def initialize(self, customers: CustomersService) -> None:
        """Take the service that keeps customers."""
        self._customers = customers

    async def put(self, customer_id: str) -> None:
        """Save what changed and answer with the whole customer."""
        changes = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        self.finish(dict(await self._customers.update(customer_id, changes)))


def add_back_end(application: Application) -> None:
    """Give the back-end's services the realtime service, and its endpoints a place beside it."""
    whatsapp = WhatsAppService(application.service, PretendWhatsApp())
    customers = CustomersService(application.service)
    application.tornado_application.add_handlers(
        ".*",
        [
            ("/demo/customers/([^/]+)/messages", MessagesHandler, {"whatsapp": whatsapp}),
            ("/demo/customers/([^/]+)", CustomerHandler, {"customers": customers}),
        ],
    )


async def main() -> None:
    """Serve with the settings of the environment until SIGTERM or SIGINT."""
    settings = Settings.load(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    application = Application(settings)
    add_back_end(application)

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    listeners = listen_tcp(settings.host, settings.port)
    server = http_server(application.tornado_application)
    await application.start()
    await server.listen(listeners)
    sys.stdout.write(f"Serving on http://localhost:{listeners[0].getsockname()[1]}\n")
    sys.stdout.flush()

    await stopping.wait()
    server.stop()
    await application.stop()
    await server.close_all_connections()


if __name__ == "__main__":
    asyncio.run(main())

"""A TCP proxy that breaks connections in the ways that networks do."""

import asyncio
from collections.abc import Callable
from contextlib import suppress


class TcpProxy:
    """Forwards to one port on the loopback address, as long as it is let.

    While ``is_stalled`` nothing is forwarded and nothing is closed: to both sides the line looks
    alive. ``bytes_per_turn`` lets everything through in drops of that size. So many answers as
    ``answers_to_drop`` says are not forwarded; the connection is reset in their place.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.bytes_per_turn = 65_536
        self.answers_to_drop = 0
        self._server: asyncio.Server | None = None
        self._flows: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._callers: set[asyncio.StreamWriter] = set()
        self._may_flow = asyncio.Event()
        self._may_flow.set()
        self._connected = asyncio.Event()

    async def start(self) -> None:
        """Listen on a free port, from then on :attr:`port`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for flow in list(self._flows):
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)

    def cut(self) -> int:
        """Reset all connections; return how many there were."""
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()
        return len(writers)

    async def next_connection(self) -> None:
        """Wait until somebody connects."""
        self._connected.clear()
        await self._connected.wait()

    def stall(self) -> None:
        """Let nothing through and close nothing, as a network that has gone does."""
        self._may_flow.clear()

    def resume(self) -> None:
        """Let everything through again."""
        self._may_flow.set()

    async def forget(self) -> Callable[[], None]:
        """Leave the connections of now stalled for ever, and let new ones through.

        To the server they look alive (half-open). Returns what cuts them in the end. Waits for a
        connection if there is none: a polling client has none at some moments.
        """
        if not self._writers:
            await self.next_connection()
        writers, self._writers = self._writers, set()
        self._may_flow.clear()
        self._may_flow = asyncio.Event()
        self._may_flow.set()

        def abort() -> None:
            for writer in writers:
                writer.transport.abort()

        return abort

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward[1]}
        self._callers.add(writer)
        self._connected.set()
        may_flow = self._may_flow
        for source, sink in ((reader, onward[1]), (onward[0], writer)):
            flow = asyncio.create_task(self._forward(source, sink, may_flow))
            self._flows.add(flow)
            flow.add_done_callback(self._flows.discard)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, may_flow: asyncio.Event
    ) -> None:
        with suppress(ConnectionError):  # the other direction was cut first
            while data := await source.read(self.bytes_per_turn):
                await may_flow.wait()
                if self.answers_to_drop and sink in self._callers:
                    self.answers_to_drop -= 1
                    sink.transport.abort()
                    break
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        self._callers.discard(sink)
        sink.close()

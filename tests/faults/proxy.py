"""A TCP proxy that understands nothing of what passes through it, and can be cut, stopped up, refused and slowed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 16 * 1024


class Proxy:
    """Listens on a port of its own that stays the same, and passes bytes on to ``upstream``.

    Parameters
    ----------
    port : to listen on, of 127.0.0.1; 0 for any.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.upstream: int | None = None
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._links: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        return len(self._links)

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cut all connections, and refuse new ones until :meth:`accept`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def stop_up(self) -> None:
        """Let nothing through any more, and say nothing of it, until :meth:`clear`."""
        self._open.clear()

    def clear(self) -> None:
        """Let everything through, at full speed."""
        self.delay_s, self.bytes_per_s = 0.0, None
        self._open.set()

    def slow(self, delay_s: float, bytes_per_s: float) -> None:
        """Hold each piece of data for so long, and let no more than so much through each connection."""
        self.delay_s, self.bytes_per_s = delay_s, bytes_per_s

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            await self._open.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            ends.append(up_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, up_writer)),
                asyncio.create_task(self._pump(up_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # nobody upstream: the client sees its connection reset, as it would without us
        finally:
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                wait_s = self.delay_s
                if self.bytes_per_s is not None:
                    wait_s += len(data) / self.bytes_per_s
                if wait_s:
                    await asyncio.sleep(wait_s)
                await self._open.wait()
                writer.write(data)
                await writer.drain()

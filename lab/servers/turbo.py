"""turbo.lab.test: a fake of AutoDL's academic acceleration, the proxy that /etc/network_turbo sets.

A plain HTTP proxy (CONNECT, and GET with an absolute URL, one request per connection) that lets through to a few hosts and
turns all others away with 403. All that it lets through goes to one lab server, by port::

    with TurboProxy("127.0.0.1", 0, {443: "127.0.0.1:8444", 80: "127.0.0.1:8080"}) as proxy:
        requests.get("https://git.lab.test/", proxies={"https": proxy.url})
        proxy.log.entries  # who went where; never a query, a header or a body
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .gateway import parse_address
from .hosts import TURBO_HOSTS
from .server import AccessLog

PORT = 12798
# headers that are between the client and the proxy
HOP = frozenset(["proxy-authorization", "proxy-connection", "connection", "keep-alive"])
HEAD_SECONDS = 30


class _ProxyError(Exception):
    """Ends a request with ``status`` and a sentence."""

    def __init__(self, status: str, message: str) -> None:
        self.status = status
        super().__init__(message)


class TurboProxy:
    """``routes``: where the traffic for a port goes, {443: "HOST:PORT", ...}; other ports are refused."""

    def __init__(
        self,
        address: str,
        port: int,
        routes: dict[int, str],
        log: str | Path | None = None,
        hosts: tuple[str, ...] = TURBO_HOSTS,
    ) -> None:
        self.address, self.port = address, port
        self.routes = {int(number): parse_address(to) for number, to in routes.items()}
        self.hosts = hosts
        self.log = AccessLog(Path(log) if log else None)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="turbo")
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    def from_config(cls, path: str | Path) -> TurboProxy:
        """From FILE.json: {"address", "port", "routes": {"443": "HOST:PORT", ...}, "log"}."""
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(config["address"], config["port"], config["routes"], config.get("log"))

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def __enter__(self) -> TurboProxy:
        self._thread.start()
        starting = asyncio.start_server(self._begin, self.address, self.port, limit=1 << 16)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._client(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def __exit__(self, *_exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = time.time()
        entry: dict[str, Any] = {"time": round(started, 3), "client": (writer.get_extra_info("peername") or ("?",))[0]}
        self.log.begin()
        try:
            await self._serve(reader, writer, entry)
        except _ProxyError as error:
            entry["status"] = int(error.status.split()[0])
            body = f"{error} This is the lab's turbo proxy (fake).\n".encode()
            head = f"HTTP/1.1 {error.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            with contextlib.suppress(OSError):
                writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as exc:
            entry["interrupted"] = type(exc).__name__
        finally:
            entry["seconds"] = round(time.time() - started, 3)
            self.log.write(entry)
            await _closed(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, entry: dict[str, Any]) -> None:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
        request, *headers = head.decode("latin-1").split("\r\n")[:-2]
        method, _, rest = request.partition(" ")
        target = rest.rpartition(" ")[0]
        connect = method == "CONNECT"
        try:
            address = urlsplit("//" + target if connect else target)
            host, port = (address.hostname or "").rstrip("."), address.port or (443 if connect else 80)
        except ValueError:
            host, port = "", 0
        entry.update(method=method, host=host, port=port)
        if not host or (not connect and address.scheme != "http"):
            raise _ProxyError("400 Bad Request", "A proxy expects CONNECT HOST:PORT or GET http://HOST/PATH.")
        if not connect:
            entry["path"] = address.path
        if host not in self.hosts or port not in self.routes:
            raise _ProxyError("403 Forbidden", f"{host}:{port} is not accelerated.")
        try:
            upstream_reader, upstream_writer = await asyncio.wait_for(
                asyncio.open_connection(*self.routes[port]), HEAD_SECONDS
            )
        except (OSError, TimeoutError) as exc:
            raise _ProxyError("502 Bad Gateway", f"{host} cannot be reached ({type(exc).__name__}).") from exc
        entry.update(status=200, sent=0, received=0)
        try:
            if connect:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = (address.path or "/") + (f"?{address.query}" if address.query else "")
                forwarded = [line for line in headers if line.partition(":")[0].strip().lower() not in HOP]
                upstream_writer.write(
                    "\r\n".join([f"{method} {path} HTTP/1.1", *forwarded, "Connection: close", "", ""]).encode(
                        "latin-1"
                    )
                )
            await asyncio.gather(
                _copy(reader, upstream_writer, entry, "sent"), _copy(upstream_reader, writer, entry, "received")
            )
        finally:
            await _closed(upstream_writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, entry: dict[str, Any], count: str) -> None:
    """Until the end of one direction; the other one goes on."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
        entry[count] += len(data)
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()

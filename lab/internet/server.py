"""One TLS server with a virtual host for each service of the lab's internet.

Hosts: git (real smart HTTP), huggingface and its storage, civitai and its storage (doubles), releases, conda and wheels
(static). Runs as ``python -m lab.internet --config FILE`` or, in tests, in-process as ``World``.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import civitai, gitsmart, hub, static

HOSTS: dict[str, Callable[[Any], None]] = {
    "git.lab.test": gitsmart.handle,
    "huggingface.lab.test": hub.handle,
    "cdn.huggingface.lab.test": hub.handle_storage,
    "civitai.lab.test": civitai.handle,
    "storage.civitai.lab.test": civitai.handle_storage,
    "releases.lab.test": static.releases,
    "conda.lab.test": static.conda,
    "wheels.lab.test": static.wheels,
    "www.lab.test": static.front,
}
CHUNK = 1 << 16


@dataclass
class Fault:
    """What goes wrong on requests whose "HOST/PATH" matches ``pattern``; ``times`` None means always.

    kind: "cut" (close after ``after`` bytes of the body), "stall" (send nothing for ``seconds`` at that point),
    "status" (answer ``status``), "ignore_range" (answer a range with 200 and everything).
    """

    pattern: str
    kind: str
    after: int = 0
    seconds: float = 0
    status: int = 503
    times: int | None = None


class Cut(Exception):
    """The connection is to be closed at once."""


class Request:
    """One request and the ways to answer it, for the hosts' handlers."""

    def __init__(self, handler: Handler, host: str, world: World) -> None:
        parts = urlsplit(handler.path)
        self.handler = handler
        self.world = world
        self.host = host
        self.method = handler.command
        self.raw_path = parts.path
        self.path = unquote(parts.path)
        self.query_string = parts.query
        self.query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self.headers = handler.headers
        self.status = 0
        self.sent = 0

    @property
    def root(self) -> Path:
        return self.world.root

    @property
    def token(self) -> str | None:
        """The second word of Authorization, as both services read it."""
        words = (self.headers.get("Authorization") or "").split()
        return words[1] if len(words) > 1 else None

    def url(self, host: str, path: str) -> str:
        """An absolute URL of another host of this world."""
        return f"https://{host}{path}"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.handler.rfile.readline().split(b";")[0], 16):
                data += self.handler.rfile.read(size)
                self.handler.rfile.readline()
            self.handler.rfile.readline()
            return data
        return self.handler.rfile.read(int(self.headers.get("Content-Length") or 0))

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()

    def write(self, data: bytes) -> None:
        if self.method == "HEAD":
            return
        for fault in self.world.faults_for(self, ("cut", "stall")):
            if self.sent + len(data) > fault.after and self.world.spend(fault):
                before = max(0, fault.after - self.sent)
                self.handler.wfile.write(data[:before])
                self.handler.wfile.flush()
                self.sent += before
                data = data[before:]
                if fault.kind == "cut":
                    raise Cut
                time.sleep(fault.seconds)
        self.handler.wfile.write(data)
        self.sent += len(data)

    def answer(self, status: int, data: bytes | str = b"", headers: dict[str, str] | None = None) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self.start(status, {"Content-Length": str(len(raw)), **(headers or {})})
        self.write(raw)

    def json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.answer(status, json.dumps(value), {"Content-Type": "application/json", **(headers or {})})

    def file(self, path: Path, headers: dict[str, str] | None = None) -> None:
        """A file, whole or the one range that was asked for."""
        size = path.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **(headers or {})}
        first, last, status = 0, size - 1, 200
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        # the CDN forgets about ranges when the client offers gzip
        ranged = wanted and "gzip" not in self.headers.get("Accept-Encoding", "")
        if wanted and ranged and not any(self.world.spend(f) for f in self.world.faults_for(self, ("ignore_range",))):
            begin, end = wanted.groups()
            first = int(begin) if begin else max(0, size - int(end))
            last = min(size - 1, int(end)) if begin and end else size - 1
            if first >= size:
                return self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
            status = 206
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.start(status, {"Content-Length": str(last - first + 1), **headers})
        with path.open("rb") as stream:
            stream.seek(first)
            left = last - first + 1
            while left > 0 and self.method != "HEAD":
                data = stream.read(min(CHUNK, left))
                left -= len(data)
                self.write(data)
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sdops-lab"
    timeout = 120

    def handle_any(self) -> None:
        world: World = self.server.world  # type: ignore[attr-defined]
        named = (self.headers.get("Host") or "").rsplit(":", 1)[0].lower()
        host = named if named in HOSTS else (self.server.default_host or named)  # type: ignore[attr-defined]
        request = Request(self, host, world)
        try:
            broken = next(iter(world.faults_for(request, ("status",))), None)
            if broken and world.spend(broken):
                request.answer(broken.status, "the lab was told to fail here\n")
            elif host in HOSTS:
                HOSTS[host](request)
            else:
                request.answer(421, f"this lab has no host {host}\n")
        except (Cut, BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True
        finally:
            world.log(request, self.client_address[0])

    do_GET = do_HEAD = do_POST = handle_any  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        """The world keeps its own log, without queries and headers, where tokens would be."""


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], world: World, default_host: str | None) -> None:
        super().__init__(address, Handler)
        self.world = world
        self.default_host = default_host

    def finish_request(self, request: Any, client_address: Any) -> None:
        # in the connection's own thread: a slow handshake must not hold up the others
        if self.world.context:
            request.settimeout(30)
            try:
                request = self.world.context.wrap_socket(request, server_side=True)
            except (OSError, ssl.SSLError):
                return
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are the lab's daily bread."""


class World:
    """All hosts over the content in ``root``. ``cert``/``key`` None serves plain HTTP (unit tests)."""

    def __init__(self, root: Path, cert: str | None = None, key: str | None = None, log: Path | None = None) -> None:
        self.root = Path(root)
        self.log_file = log
        self.faults: list[Fault] = []
        self.requests: list[dict[str, Any]] = []
        self.listeners: list[Listener] = []
        self.context = None
        if cert:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert, key)
            self.context.set_alpn_protocols(["http/1.1"])
        self._lock = threading.Lock()

    def listen(self, address: str = "127.0.0.1", port: int = 0, default_host: str | None = None) -> int:
        """Open one more port and serve it in a thread; returns the port."""
        listener = Listener((address, port), self, default_host)
        self.listeners.append(listener)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        return int(listener.server_address[1])

    def close(self) -> None:
        for listener in self.listeners:
            listener.shutdown()
            listener.server_close()

    def faults_for(self, request: Request, kinds: tuple[str, ...]) -> list[Fault]:
        self._read_faults()
        where = request.host + request.path
        return [f for f in self.faults if f.kind in kinds and f.times != 0 and re.search(f.pattern, where)]

    def spend(self, fault: Fault) -> bool:
        with self._lock:
            if fault.times is None:
                return True
            if fault.times <= 0:
                return False
            fault.times -= 1
            return True

    def _read_faults(self) -> None:
        """``faults.json`` beside the content is taken over (and removed) when it appears: [{pattern, kind, ...}]."""
        path = self.root / "faults.json"
        if path.exists():
            with self._lock:
                if path.exists():
                    self.faults = [Fault(**fault) for fault in json.loads(path.read_text())]
                    path.unlink()

    def log(self, request: Request, client: str) -> None:
        entry = {
            "time": round(time.time(), 3),
            "client": client,
            "host": request.host,
            "method": request.method,
            "path": request.path,
            "status": request.status,
            "bytes": request.sent,
        }
        with self._lock:
            self.requests.append(entry)
            del self.requests[:-10000]
            if self.log_file:
                with self.log_file.open("a") as stream:
                    stream.write(json.dumps(entry) + "\n")

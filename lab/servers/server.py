"""The lab server: TLS, HTTP/1.1 with keep-alive, virtual hosts, faults and an access log. Standard library only.

In a test::

    with LabServer(root, [Listener(default_host="huggingface.lab.test", tls=False), ...]) as lab_server:
        requests.get(lab_server.url("huggingface.lab.test") + "/api/models/lab-fakes/tiny-sd15")
        lab_server.faults.add(Fault("disconnect", path="*.safetensors", after=1000, times=1))
        lab_server.log.entries  # the requests, with their hosts

It also serves as the ``dest`` of a REALITY inbound: TLS 1.3, X25519, http/1.1, and connections that end in the handshake
are no news.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import select
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from .faults import Fault, FaultRegistry
from .hosts import DOMAIN
from .hosts.huggingface import HubContent
from .signing import Signer
from .virtual_hosts import make_hosts
from .web import Content, FileSlice, Request, Response, Slice, json_response, text

# query values that are no secrets; all others are logged as "..."
PLAIN_QUERY = frozenset(
    [
        "type",
        "format",
        "size",
        "fp",
        "fileId",
        "quantType",
        "service",
        "recursive",
        "expand",
        "blobs",
        "page",
        "cursor",
        "limit",
        "paths",
        "reason",
        "X-Amz-Expires",
        "X-Amz-Date",
    ]
)


@dataclass
class Listener:
    """Where to listen. ``default_host`` answers when the Host header is no lab name (one port per host on 127.0.0.1).

    ``public`` is the origin under which that default host is reached ("http://localhost:8081"), when it is not the address.
    ``hosts``: only these answer here. ``to_https``: every request is redirected to https.
    """

    address: str = "127.0.0.1"
    port: int = 0
    default_host: str | None = None
    tls: bool = True
    public: str | None = None
    hosts: list[str] | None = None
    to_https: bool = False

    @property
    def origin(self) -> str:
        return self.public or f"{'https' if self.tls else 'http'}://{self.address}:{self.port}"


@dataclass
class Settings:
    """What tests and the lab's config may turn. Times in seconds; quotas are requests per window and client address.

    ``hub_link_style`` is s3 or cloudfront, ``civitai_storage`` r2 or b2 (a version of its own may say otherwise).
    ``civitai_region_blocked`` answers 451, ``civitai_blacklisted`` 403, ``civitai_too_many`` 429 (downloads only).
    """

    hub_url_ttl: int = 3600
    hub_link_style: str = "s3"
    hub_window: int = 300
    hub_resolvers: int = 3000
    hub_api: int = 500
    hub_pages: int = 100
    hub_tree_page: int = 1000
    civitai_url_ttl: int = 86400
    civitai_require_auth: bool = False
    civitai_storage: str = "r2"
    civitai_region_blocked: bool = False
    civitai_blacklisted: bool = False
    civitai_too_many: bool = False


class AccessLog:
    """One JSON object per request: the last ones in memory, all of them in ``path`` (one line each). Never a secret."""

    def __init__(self, path: Path | None = None, max_entries: int = 20000) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=max_entries)
        self._lock = threading.Condition()
        self._unfinished = 0
        self._path = path
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """A request has come; ``write`` ends it."""
        with self._lock:
            self._unfinished += 1

    def wait_until_written(self, seconds: float = 5) -> None:
        """Wait until every request that came is in the log: a client has its answer a moment earlier."""
        with self._lock:
            self._lock.wait_for(lambda: not self._unfinished, seconds)

    def write(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._unfinished -= 1
            self._lock.notify_all()
            self.entries.append(entry)
            if self._path:
                with self._path.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(entry, ensure_ascii=False) + "\n")


def plain_query(query_string: str) -> str:
    """The query string with every value masked that may be a secret."""
    pairs = parse_qsl(query_string, keep_blank_values=True)
    return "&".join(f"{name}={value if name in PLAIN_QUERY else '...'}" for name, value in pairs)


class BodyReader(io.RawIOBase):
    """A request body, by Content-Length or chunked; ends where the body ends."""

    def __init__(self, stream: io.BufferedIOBase, length: int | None, chunked: bool) -> None:
        self._stream = stream
        self._chunked = chunked
        self._left = 0 if chunked else (length or 0)
        self.done = not chunked and not self._left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._chunked and not self._left and not self.done:
            self._left = int(self._stream.readline().split(b";")[0], 16)
            if not self._left:
                while self._stream.readline().strip():  # trailers
                    pass
                self.done = True
        if self.done:
            return 0
        data = self._stream.read(min(len(buffer), self._left))
        if not data:
            raise ConnectionError("the request body ended early")
        buffer[: len(data)] = data
        self._left -= len(data)
        if not self._left:
            if self._chunked:
                self._stream.readline()
            else:
                self.done = True
        return len(data)


# faults that need the body in pieces
CHANGES_BODY = frozenset(["disconnect", "stall", "slow", "wrong_bytes", "short"])


class _Disconnect(Exception):
    """A fault ends the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sdops-lab"
    sys_version = "(fake)"
    timeout = 120
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def log_message(self, *_args: Any) -> None:
        """The access log has it all."""

    def _serve(self) -> None:
        lab_server = self.server.lab_server
        listener = self.server.listener
        started = time.time()
        path, query_string = Request.target(self.path)
        authority = self.headers.get("Host") or listener.origin.split("://", 1)[1]
        name = authority.rsplit(":", 1)[0].lower() if not authority.startswith("[") else authority
        direct = not (name == DOMAIN or name.endswith("." + DOMAIN))
        length = self.headers.get("Content-Length")
        chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "").lower()
        body = BodyReader(self.rfile, int(length) if length else None, chunked)
        request = Request(
            method=self.command,
            scheme="https" if listener.tls else "http",
            host=(listener.default_host or name) if direct else name,
            authority=authority,
            raw_path=path,
            query_string=query_string,
            headers=self.headers,
            body=io.BufferedReader(body),
            client=self.client_address[0],
            direct=direct and listener.default_host is not None,
        )
        entry: dict[str, Any] = {
            "time": round(started, 3),
            "client": request.client,
            "host": request.host,
            "method": request.method,
            "path": request.path,
            "query": plain_query(query_string),
            "range": request.headers.get("Range"),
            "authorization": "Authorization" in request.headers,
            "agent": request.headers.get("User-Agent"),
            "port": listener.port,
            "status": 0,
            "bytes": 0,
        }
        if not path.startswith("/.lab/"):
            lab_server.log.begin()
        try:
            faults = [] if path.startswith("/.lab/") else lab_server.faults.take(request)
            if faults:
                entry["faults"] = [fault.kind for fault in faults]
            response = self._answer(request, faults)
            entry["status"] = response.status
            self._send(response, faults, entry)
            if not body.done:
                self.close_connection = True
        except _Disconnect:
            entry["interrupted"] = True
            self.close_connection = True
        except (OSError, ssl.SSLError) as exc:
            entry["interrupted"] = type(exc).__name__
            self.close_connection = True
        finally:
            entry["seconds"] = round(time.time() - started, 3)
            if not path.startswith("/.lab/"):
                lab_server.log.write(entry)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _serve

    def _answer(self, request: Request, faults: list[Fault]) -> Response:
        lab_server = self.server.lab_server
        for fault in faults:
            if fault.kind == "drop":
                raise _Disconnect
            if fault.kind == "delay":
                time.sleep(fault.seconds)
            elif fault.kind == "ignore_range":
                del request.headers["Range"]
            elif fault.kind == "expire":
                request.link_life = fault.seconds
            elif fault.kind == "status":
                headers = {name: value for name, value in fault.headers.items() if value is not None}
                return Response(
                    fault.status, {"Content-Type": "text/plain; charset=utf-8", **headers}, fault.body.encode()
                )
        try:
            if request.path.startswith("/.lab/"):
                return lab_server.control(request)
            listener = self.server.listener
            if listener.to_https:
                query = f"?{request.query_string}" if request.query_string else ""
                return Response(301, {"Location": f"https://{request.host}{request.raw_path}{query}"})
            host = lab_server.hosts.get(request.host)
            if host is None or (listener.hosts is not None and request.host not in listener.hosts):
                return text(421, f"This is a fake of the sdops.webui lab; it has no host {request.host}.\n")
            return host.handle(request)
        except Exception:  # a defect of the lab must be visible, and must not end the server
            sys.stderr.write(traceback.format_exc())
            return text(500, "The lab server failed; its error output has the traceback.\n")

    def _send(self, response: Response, faults: list[Fault], entry: dict[str, Any]) -> None:
        headers = {**response.headers}
        kinds = {fault.kind for fault in faults}
        length = response.length
        if length is not None and "short" in kinds:
            length = min(length, *(fault.after for fault in faults if fault.kind == "short"))
        bodiless = response.status in (204, 304) or response.status < 200
        if length is not None and not bodiless:
            headers.setdefault("Content-Length", str(length))
        for fault in faults:
            if fault.kind == "headers":
                for name, value in fault.headers.items():
                    headers = {key: old for key, old in headers.items() if key.lower() != name.lower()}
                    if value is not None:
                        headers[name] = value
        if "until_close" in kinds:
            headers.pop("Content-Length", None)
            self.close_connection = True
        chunked = not bodiless and "Content-Length" not in headers and "until_close" not in kinds
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        self.send_response(response.status)
        for name, value in headers.items():
            # file names of all kinds end up in headers: as UTF-8, and never as a header of their own
            self.send_header(name, re.sub(r"[\r\n]", " ", value).encode().decode("latin-1"))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if bodiless or self.command == "HEAD":
            return
        if not chunked and not kinds & CHANGES_BODY and self._send_at_once(response.body, entry):
            return
        for data in self._apply_faults(response, faults, length if "short" in kinds else None):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            entry["bytes"] += len(data)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_at_once(self, body: Any, entry: dict[str, Any]) -> bool:
        """Let the kernel copy a file to a plain socket; False when this is something else."""
        if not isinstance(body, FileSlice) or isinstance(self.connection, ssl.SSLSocket) or not body.length:
            return False
        position, end = body.start, body.start + body.length
        with body.path.open("rb", buffering=0) as handle:
            while position < end:
                sent = self.connection.sendfile(handle, position, min(8 << 20, end - position))
                if not sent:  # the file has become shorter
                    raise _Disconnect
                position += sent
                entry["bytes"] += sent
        return True

    def _apply_faults(
        self, response: Response, faults: list[Fault], limit: int | None = None
    ) -> Iterator[bytes | memoryview]:
        """The body in pieces (its first ``limit`` bytes), with what the faults do to it."""
        stops = sorted(
            (fault for fault in faults if fault.kind in ("disconnect", "stall")),
            key=lambda item: (item.after, item.kind == "disconnect"),
        )
        rate = min((fault.rate for fault in faults if fault.kind == "slow"), default=None)
        wrong = [fault for fault in faults if fault.kind == "wrong_bytes"]
        base = response.body.start if isinstance(response.body, Slice) else 0
        sent = 0
        for chunk in response.chunks():
            if limit is not None:
                chunk = chunk[: limit - sent]
            offset = 0
            while offset < len(chunk):
                while stops and stops[0].after <= sent:
                    self._interrupt(stops.pop(0))
                end = min(len(chunk), offset + stops[0].after - sent) if stops else len(chunk)
                if rate:
                    end = min(end, offset + max(1, rate // 10))
                piece = chunk[offset:end]
                for fault in wrong:
                    piece = _invert_bytes(piece, base + sent, fault.after, fault.count)
                yield piece
                if rate:
                    time.sleep(len(piece) / rate)
                sent += len(piece)
                offset = end
        for fault in stops:
            if fault.after <= sent:
                self._interrupt(fault)

    def _interrupt(self, fault: Fault) -> None:
        if fault.kind == "stall":
            # a waiting client sends nothing: if there is something to read, the client has closed the connection
            if select.select([self.connection], [], [], fault.seconds)[0]:
                raise _Disconnect
            return
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Disconnect


def _invert_bytes(piece: bytes | memoryview, position: int, start: int, count: int) -> bytes | memoryview:
    """``piece``, which lies at ``position``, with the bytes start..start+count inverted as far as they are in it."""
    first, last = max(start - position, 0), min(start + count - position, len(piece))
    if first >= last:
        return piece
    piece = bytes(piece)
    return piece[:first] + bytes(byte ^ 0xFF for byte in piece[first:last]) + piece[last:]


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, lab_server: LabServer, listener: Listener, context: ssl.SSLContext | None) -> None:
        self.lab_server = lab_server
        self.listener = listener
        self.context = context
        self._open: set[socket.socket] = set()
        super().__init__((listener.address, listener.port), _Handler)
        listener.port = self.server_address[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: the handshake, so that a silent client holds up nobody."""
        if self.context is not None:
            request.settimeout(30)
            try:
                request = self.context.wrap_socket(request, server_side=True, suppress_ragged_eofs=True)
            except OSError:  # a probe, or a client that does not trust us
                return
        self._open.add(request)
        try:
            with contextlib.suppress(OSError):
                _Handler(request, client_address, self)
        finally:
            self._open.discard(request)
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        sys.stderr.write(traceback.format_exc())

    def close_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class LabServer:
    """All virtual hosts over the content of ``root`` (made by ``lab.servers build``), on one or more listeners.

    ``cert``/``key`` are PEM files, needed for listeners with TLS. ``faults`` is an optional JSON file (see faults.py).
    ``settings`` may be turned while it runs; ``reset`` turns them back.
    """

    def __init__(
        self,
        root: str | Path,
        listeners: list[Listener],
        cert: str | Path | None = None,
        key: str | Path | None = None,
        log: str | Path | None = None,
        faults: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.root = Path(root)
        self.listeners = listeners
        self._settings = settings or Settings()
        self.settings = replace(self._settings)
        self.log = AccessLog(Path(log) if log else None)
        self.faults = FaultRegistry(Path(faults) if faults else None)
        self.signer = Signer()
        self.hub = HubContent(self.root / "huggingface")
        self.hosts = make_hosts(self)
        self._tls = (str(cert), str(key)) if cert and key else None
        self._servers: list[_Server] = []

    @classmethod
    def from_config(cls, path: str | Path) -> LabServer:
        """From FILE.json: {"root", "cert", "key", "log", "faults", "settings": {...}, "listeners": [{...}]}."""
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(
            config["root"],
            [Listener(**item) for item in config["listeners"]],
            config.get("cert"),
            config.get("key"),
            config.get("log"),
            config.get("faults"),
            Settings(**config.get("settings", {})),
        )

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            raise ValueError("a listener with TLS needs cert and key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._tls)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def start(self) -> LabServer:
        for listener in self.listeners:
            server = _Server(self, listener, self._context() if listener.tls else None)
            self._servers.append(server)
            threading.Thread(
                target=server.serve_forever, args=(0.05,), daemon=True, name=f"lab-server-{listener.port}"
            ).start()
        return self

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
            server.close_connections()
        self._servers.clear()

    def reset(self) -> None:
        """Settings, faults and content as they were at the start."""
        self.settings = replace(self._settings)
        self.faults.clear()
        self.hub.reset()

    def replace_hub_file(
        self, repo: str, path: str, data: bytes | Content, *, commit: bool = True, squash: bool = False
    ) -> dict[str, Any]:
        """From now on the main branch of ``repo`` (made if missing) has ``data`` at ``path``: another ETag.

        ``commit``: under a new commit, else (a mirror that mixes things up) under the old one. ``squash``: the old commit
        is gone, as after a squash. In memory, until ``reset``. Returns {"commit", "sha256", "oid", "size", "lfs"}.
        """
        return self.hub.replace(repo, path, data, commit, squash)

    __enter__ = start

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def url(self, host: str) -> str:
        """The origin of the listener whose default host is ``host``."""
        for listener in self.listeners:
            if listener.default_host == host:
                return listener.origin
        raise KeyError(f"no listener has the default host {host}")

    def link(self, request: Request, host: str, path: str) -> str:
        """An absolute URL on another virtual host, with the scheme and port of ``request``."""
        if request.direct:
            return self.url(host) + path
        port = request.authority.rsplit(":", 1)[1] if ":" in request.authority else None
        return f"{request.scheme}://{host}{':' + port if port else ''}{path}"

    def control(self, request: Request) -> Response:
        """``/.lab/health`` and ``/.lab/faults`` (GET list, POST one, PUT the whole list, DELETE all)."""
        if request.path == "/.lab/health":
            return json_response(200, {"fake": True, "hosts": sorted(self.hosts)})
        if request.path != "/.lab/faults":
            return text(404, "There is /.lab/health and /.lab/faults.\n")
        try:
            if request.method == "POST":
                return json_response(201, asdict(self.faults.add(Fault.from_json(json.loads(request.body.read())))))
            if request.method == "PUT":
                self.faults.replace(json.loads(request.body.read()))
            elif request.method == "DELETE":
                self.faults.clear()
        except (ValueError, TypeError, AttributeError) as exc:
            return json_response(400, {"error": str(exc)})
        return json_response(200, self.faults.dump())

"""A small HTTP server: routes, JSON, HTTP Basic for the API, a login for the page, and FastAPI's shapes of errors."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import html
import json
import os
import secrets
import socket
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, NamedTuple

from fastapi.applications import FastAPI

from modules import errors, fake
from modules.schema import RequestError

MAX_BODY = 256 << 20


class HTTPException(Exception):
    """An answer with this status; ``detail`` goes into the body."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__()
        self.status, self.detail = status, detail


class Response(NamedTuple):
    """An answer that is not JSON."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes

    def json(self) -> Any:
        """The body as a JSON object; RequestError in FastAPI's words otherwise."""
        if not self.body:
            raise RequestError([{"loc": ["body"], "msg": "field required", "type": "value_error.missing"}])
        try:
            value = json.loads(self.body.decode("utf8"))
        except ValueError as exc:
            kind = "value_error.jsondecode"
            raise RequestError([{"loc": ["body", getattr(exc, "pos", 0)], "msg": str(exc), "type": kind}]) from exc
        if not isinstance(value, dict):
            raise RequestError([{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
        return value

    def form(self) -> dict[str, str]:
        """Fields of a form or of a JSON object."""
        if "json" in (self.headers.get("Content-Type") or ""):
            return {name: str(value) for name, value in self.json().items()}
        return dict(urllib.parse.parse_qsl(self.body.decode("utf8", "replace"), keep_blank_values=True))

    def cookie(self, name: str) -> str | None:
        for part in (self.headers.get("Cookie") or "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return None


class Route(NamedTuple):
    function: Callable[[Request], Any]
    api: bool  # behind --api-auth
    login: bool  # behind the login


class App(FastAPI):
    """Routes and credentials; ``handle`` turns a request into an answer, and the server asks for it by ASGI."""

    def __init__(self, api_auth: str | None, logins: list[tuple[str, str]]) -> None:
        self.api_users: dict[str, str] = {}
        for pair in api_auth.split(",") if api_auth else []:
            user, password = pair.split(":")  # ValueError ends the start, as in the original
            self.api_users[user] = password
        self.logins = dict(logins)
        self.tokens: dict[str, str] = {}  # who is logged in, by the value of the cookie
        self.routes: dict[str, dict[str, Route]] = {}
        self.prefixes: dict[str, Route] = {}

    def add(self, path: str, function: Callable[[Request], Any], method="GET", api=False, login=False) -> None:
        """A route; a path that ends in '*' takes everything below."""
        route = Route(function, api, login)
        if path.endswith("*"):
            self.prefixes[path[:-1]] = route
        else:
            self.routes.setdefault(path, {})[method] = route

    def user(self, request: Request) -> str | None:
        """Who is logged in on the page ('' when no login is required)."""
        return self.tokens.get(request.cookie("access-token-unsecure") or "") if self.logins else ""

    def login(self, request: Request) -> Response:
        form = request.form()
        user, password = form.get("username", ""), form.get("password", "")
        if not _same(self.logins.get(user), password):
            return _json({"detail": "Incorrect credentials."}, 400)
        token = secrets.token_urlsafe(16)
        self.tokens[token] = user
        cookies = tuple(("Set-Cookie", f"{name}={token}; HttpOnly; Path=/; SameSite=Lax") for name in TOKENS)
        if "text/html" in (request.headers.get("Accept") or ""):  # a browser's form, not a program
            return Response(b"", status=303, headers=(("Location", "/"), *cookies))
        return _json({"success": True}, 200, cookies)

    def _check_basic(self, request: Request) -> None:
        scheme, _, param = (request.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() != "basic":
            raise HTTPException(401, "Not authenticated")
        try:
            user, colon, password = base64.b64decode(param, validate=True).decode("ascii").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, colon, password = "", "", ""
        if not colon:
            raise HTTPException(401, "Invalid authentication credentials")
        if not _same(self.api_users.get(user), password):
            raise HTTPException(401, "Incorrect username or password")

    async def answer(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        answer = self.handle(scope["fake.request"])
        headers = [("content-type", answer.kind), *answer.headers]
        raw = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    def call(self, request: Request) -> Response:
        """One request through the ASGI interface."""
        headers = [(n.lower().encode("latin1"), v.encode("latin1")) for n, v in request.headers.items()]
        scope = {"type": "http", "method": request.method, "path": request.path, "headers": headers}
        scope["fake.request"] = request
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self(scope, receive, send))
        named = [(n.decode("latin1"), v.decode("latin1")) for n, v in sent[0].get("headers", [])]
        kind = dict(named).get("content-type", "application/octet-stream")
        rest = tuple((n.title(), v) for n, v in named if n not in ("content-type", "content-length"))
        return Response(b"".join(m.get("body", b"") for m in sent[1:]), kind, sent[0]["status"], rest)

    def handle(self, request: Request) -> Response:
        methods = self.routes.get(request.path)
        if methods is None:
            prefixed = [route for prefix, route in self.prefixes.items() if request.path.startswith(prefix)]
            methods = {"GET": prefixed[0]} if prefixed else None
        if methods is None:
            return _json({"detail": "Not Found"}, 404)
        method = "GET" if request.method == "HEAD" and request.path == "/" else request.method
        if method not in methods:
            return _json({"detail": "Method Not Allowed"}, 405, (("Allow", ", ".join(sorted(methods))),))
        route = methods[method]
        try:
            if route.login and self.user(request) is None:
                return _json({"detail": "Not authenticated"}, 401)
            if route.api and self.api_users:
                self._check_basic(request)
            result = route.function(request)
        except RequestError as exc:
            return _json({"detail": exc.problems}, 422)
        except HTTPException as exc:
            # the original's handler drops the WWW-Authenticate header: a client must send Basic without a challenge
            body = {"error": "HTTPException", "detail": exc.detail, "body": "", "errors": ""}
            return _json(body, exc.status)
        except Exception as exc:
            body = {"error": type(exc).__name__, "detail": "", "body": "", "errors": str(exc)}
            errors.report(f"API error: {request.method}: {request.path} {body}", exc_info=True)
            return _json(body, 500)
        return result if isinstance(result, Response) else _json(result)


TOKENS = ("access-token", "access-token-unsecure")


def _same(expected: str | None, given: str) -> bool:
    return expected is not None and hmac.compare_digest(expected.encode("utf8"), given.encode("utf8"))


def _json(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf8")
    return Response(body, "application/json", status, headers)


def page(title: str, body: str) -> Response:
    text = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        '<link rel="stylesheet" href="/webui-assets/css/fake.css"></head>'
        f'<body><p class="fake">{html.escape(fake.BANNER)}.</p>{body}</body></html>'
    )
    return Response(text.encode("utf8"), "text/html; charset=utf-8")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = fake.SERVER
    sys_version = ""
    timeout = 60
    wbufsize = -1  # head and body leave together
    app: App

    def _serve(self) -> None:
        started = time.monotonic()
        # not self.path: http.server makes one slash of several, uvicorn leaves them
        path, _, query = self.requestline.split(" ")[1].partition("?")
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if self.headers.get("Transfer-Encoding") or not 0 <= length <= MAX_BODY:
            self.close_connection = True
            self._send(_json({"detail": "a body needs a Content-Length of at most 256 MiB"}, 411), 0.0)
            return
        request = Request(
            self.command,
            urllib.parse.unquote(path),
            dict(urllib.parse.parse_qsl(query)),
            self.headers,
            self.rfile.read(length),
        )
        answer = self.app.call(request)
        self._send(answer, time.monotonic() - started)

    def _send(self, answer: Response, spent: float) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Process-Time", f"{spent:.4f}")
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, socket.timeout)):
            super().handle_error(request, client_address)


def bind(app: App, host: str, ports: list[int]) -> Server:
    """A server on the first free port; OSError when none is free."""
    handler = type("Handler", (Handler,), {"app": app})
    for port in ports:
        try:
            return Server((host, port), handler)
        except OSError as exc:
            last = exc
    raise last


def static(root: str, relative: str) -> Response:
    """A file below ``root``; 404 otherwise."""
    root = os.path.realpath(root)
    path = os.path.realpath(os.path.join(root, relative))
    inside = os.path.relpath(path, root)
    if inside.startswith("..") or not os.path.isfile(path):
        return _json({"detail": "Not Found"}, 404)
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
    with open(path, "rb") as file:
        return Response(file.read(), kinds.get(os.path.splitext(path)[1], "application/octet-stream"))

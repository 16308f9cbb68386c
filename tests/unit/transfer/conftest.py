"""Small servers that do what a test says."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@contextlib.contextmanager
def server(answer):
    """``answer(path, headers)`` -> (status, headers, body as bytes, or as pieces with a Content-Length of one's own).

    Yields (base URL, requests seen as (path, authorization)).
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            status, headers, body = answer(self.path, self.headers)
            self.send_response(status)
            length = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
            for name, value in {**length, **headers}.items():
                if value is None:
                    continue
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the other side may have had enough
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture
def serve():
    """Start servers for the test: ``serve(answer)`` -> (base URL, requests seen)."""
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(server(answer))

"""Make ``ansible_collections.sdops.webui`` importable from the checkout, wherever it lies."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import module_process
from helpers.paths import COLLECTIONS, ROOT
from hypothesis import configuration

LINK = COLLECTIONS / "ansible_collections" / "sdops" / "webui"

configuration.set_hypothesis_home_dir(ROOT / ".work" / "hypothesis")

if not LINK.exists():
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.symlink_to(ROOT, target_is_directory=True)
for path in (str(COLLECTIONS), str(ROOT)):
    if path not in sys.path:
        sys.path.insert(0, path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: at the end one worker would be left with them."""
    items.sort(key=lambda item: item.path.name != "test_random_inputs.py")


@pytest.fixture
def run_module(tmp_path):
    """Run one of our modules with this process's environment as it is; see helpers.module_process."""

    def run(module: str, /, check: bool = False, **arguments: object) -> dict:
        env = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
        return module_process.run_module(module, env=env, check=check, cwd=tmp_path, **arguments)

    return run


@pytest.fixture
def four_times(run_module):
    """check -> apply -> check again -> apply again, with ``changed`` asserted; returns the results of the first two."""

    def run(module: str, /, **arguments: object) -> tuple[dict, dict]:
        planned = run_module(module, check=True, **arguments)
        assert (planned["failed"], planned.get("changed")) == (False, True), planned
        applied = run_module(module, **arguments)
        assert (applied["failed"], applied.get("changed")) == (False, True), applied
        for check in (True, False):
            repeated = run_module(module, check=check, **arguments)
            assert (repeated["failed"], repeated.get("changed")) == (False, False), repeated
        return planned, applied

    return run


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
            if self.command == "HEAD":  # a body would be taken for the next answer
                return
            with contextlib.suppress(ConnectionError):  # the other side may have had enough
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.handle_error = lambda *_: None  # whoever has enough hangs up
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

"""Make ``ansible_collections.sdops.webui`` importable from the checkout, wherever it lies."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".work" / "collections"
LINK = COLLECTIONS / "ansible_collections" / "sdops" / "webui"

if not LINK.exists():
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.symlink_to(ROOT, target_is_directory=True)
for path in (str(COLLECTIONS), str(ROOT)):
    if path not in sys.path:
        sys.path.insert(0, path)


class ModuleResult(dict):
    """What a module returned; ``failed`` is always there."""


@pytest.fixture
def run_module(tmp_path):
    """Run one of our modules as Ansible would: a process with its arguments as JSON. Returns its result."""

    def run(module: str, /, check: bool = False, **arguments: object) -> ModuleResult:
        payload = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}}
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.sdops.webui.plugins.modules.{module}"],
            input=json.dumps(payload),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
            timeout=300,
        )
        assert done.stdout.strip().startswith("{"), done.stdout + done.stderr
        return ModuleResult({"failed": False, **json.loads(done.stdout)})

    return run


@pytest.fixture
def four_times(run_module):
    """check -> apply -> check again -> apply again, with ``changed`` asserted; returns the results of the first two."""

    def run(module: str, /, **arguments: object) -> tuple[ModuleResult, ModuleResult]:
        planned = run_module(module, check=True, **arguments)
        assert (planned["failed"], planned.get("changed")) == (False, True), planned
        applied = run_module(module, **arguments)
        assert (applied["failed"], applied.get("changed")) == (False, True), applied
        for check in (True, False):
            again = run_module(module, check=check, **arguments)
            assert (again["failed"], again.get("changed")) == (False, False), again
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

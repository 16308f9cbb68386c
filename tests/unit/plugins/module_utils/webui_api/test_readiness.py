"""Nothing is rendered before the WebUI has finished its start.

The order is that of webui.py in 1.10.1: gradio's server runs, /internal is there, then the routes of the API, then what txt2img
needs, and last ``timer.startup_record``.
"""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

MODEL = {"sd_model_checkpoint": "a.safetensors"}
API = {"/sdapi/v1/options": MODEL, "/sdapi/v1/progress": {"state": {}}, "/sdapi/v1/txt2img": {"images": []}}


@contextlib.contextmanager
def starting(profile, phases):
    """A WebUI that starts: after so many requests comes the next phase, in which ``routes`` answer. Yields (url, tracebacks)."""
    tracebacks, requested = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requested.append(self.path)
            phase = sum(len(requested) > limit for limit in phases)
            path = self.path.partition("?")[0]
            answers = {"/internal/ping": {}, **(API if phase > 0 else {})}
            if profile:
                answers["/internal/profile-startup"] = {"total": 1} if phase > 1 else None
            status = 200 if path in answers else 404
            if path == "/sdapi/v1/txt2img" and phase == 1:
                tracebacks.append("'Api' object has no attribute 'default_script_arg_txt2img'")
                status = 500
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(path)).encode())

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", tracebacks
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("phases", [(0, 8), (3, 9), (4, 20)])
def test_nothing_is_rendered_before_the_start_is_over(run_module, phases):
    with starting(True, phases) as (url, tracebacks):
        found = run_module("program_check_info", webui=dict(url=url, timeout=60))
        assert not found["failed"], found
        assert tracebacks == [] and found["webui"]["checkpoint"] == "a.safetensors"


def test_a_webui_that_cannot_report_is_not_waited_for(run_module):
    with starting(False, (0, 0)) as (url, _):
        assert not run_module("program_check_info", webui=dict(url=url, timeout=20))["failed"]


def test_a_start_that_never_ends_is_reported(run_module):
    with starting(True, (0, 10**9)) as (url, tracebacks):
        found = run_module("program_check_info", webui=dict(url=url, timeout=2))
        assert found["failed"] and "while waiting for the end of its start" in found["msg"] and not tracebacks

"""The real WebUI, installed and started by the roles on this machine, on CPU, with a tiny random checkpoint.

SDOPS_REAL_SOURCES names a directory with the sources: bare git repositories, and ``vars.yml`` with the variables of
``tests/helpers/webui_installation.py`` that lead to them. Without it every test here fails: nothing would have been tried.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from pathlib import Path

import pytest
import yaml
from helpers import tiny_checkpoint
from helpers.webui_installation import Installation

from lab.ports import free_ports


class RealWebUI:
    """Its address and credentials, and requests to its API."""

    def __init__(self, installation: Installation, port: int) -> None:
        self.port = port
        self.credentials = (installation.base / "sdops/secrets/webui-credentials").read_text().strip()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, path: str, body: object = None) -> object:
        """The JSON answer; HTTPError for an error of the API."""
        basic = base64.b64encode(self.credentials.encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with self._opener.open(request, timeout=600) as answer:
            return json.load(answer)

    def image(self, **changes: object) -> bytes:
        """PNG of 256x256 in 4 steps."""
        request = {"prompt": "a lighthouse", "seed": 1, "steps": 4, "width": 256, "height": 256, **changes}
        answer = self.call("/sdapi/v1/txt2img", request)
        return base64.b64decode(answer["images"][0])


@pytest.fixture(scope="session")
def real_webui(tmp_path_factory: pytest.TempPathFactory) -> RealWebUI:
    named = os.environ.get("SDOPS_REAL_SOURCES", "")
    given = Path(named) / "vars.yml"
    if not named or not given.is_file():
        pytest.fail(
            f"THE REAL WEBUI WAS NOT TRIED: SDOPS_REAL_SOURCES is {named!r}, and a directory with vars.yml is needed; "
            "see docs/lab.md.",
            pytrace=False,
        )
    base = tmp_path_factory.mktemp("real")
    checkpoint, vae = tiny_checkpoint.make(base / "models"), tiny_checkpoint.make_vae(base / "models")
    webui_port, http_port, socks_port = free_ports(3)
    variables = {
        "sdops_device": "cpu",
        "sdops_proxy_http_port": http_port,
        "sdops_proxy_socks_port": socks_port,
        "webui_service_port": webui_port,
        "webui_service_smoke_test_width": 256,
        "webui_service_smoke_test_height": 256,
        "webui_service_smoke_test_steps": 4,
        "model_fetch_models": [
            {
                "source": f"file://{checkpoint}",
                "kind": "checkpoint",
                "config": f"file://{checkpoint.with_suffix('.yaml')}",
            },
            {"source": f"file://{vae}", "kind": "vae"},
        ],
        **yaml.safe_load(given.read_text()),
    }
    site = base / "host"
    installation = Installation(site, {**variables, **Installation.places(site)})
    try:
        installation.playbook()
        yield RealWebUI(installation, webui_port)
    finally:
        installation.end()

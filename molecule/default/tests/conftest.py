"""Access of the tests to the WebUI of the target."""

from __future__ import annotations

import json
import time

import pytest

HOME = "/opt/sdops"
URL = "http://127.0.0.1:6006"


@pytest.fixture(scope="module")
def api(host):
    """(status, body) of a request made on the target itself; the password goes through a file, not argv."""

    def query(path, credentials=True, data=None):
        auth = f"-K <(sed 's/.*/user = \"&\"/' {HOME}/secrets/webui-credentials)" if credentials else ""
        body = f"-H 'Content-Type: application/json' -d '{json.dumps(data)}'" if data is not None else ""
        out = host.run("bash -c %s", f"curl -s --noproxy '*' -w '\\n%{{http_code}}' {auth} {body} {URL}{path}")
        text, _, status = out.stdout.rpartition("\n")
        return int(status), text

    return query


@pytest.fixture(scope="module")
def programs(host):
    """supervisord's status of all programs, as a function."""

    def query():
        return host.check_output(f"{HOME}/toolbox/bin/supervisorctl -c {HOME}/supervisor/supervisord.conf status")

    return query


@pytest.fixture(scope="module")
def ready(api, programs):
    """The WebUI after the power cycle: supervised programs take a moment."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        status, body = api("/sdapi/v1/options")
        if status == 200 and json.loads(body).get("sd_checkpoint_hash") and "STARTING" not in programs():
            return
        time.sleep(1)
    pytest.fail(f"the WebUI did not come back within 90 s after the power cycle; last answer: {status} {body[:300]}")

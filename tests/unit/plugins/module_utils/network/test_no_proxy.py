"""What no_proxy says, to the libraries that read it. Oracle: httpx 0.24.1 and urllib of the WebUI's own packages (``make gradio``), and
requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from ansible_collections.sdops.webui.plugins.filter import route_environment as filter_module
from ansible_collections.sdops.webui.plugins.module_utils.network.proxy_environment import no_proxy_forms
from helpers.paths import ROOT

PYTHON = ROOT / ".work/gradio-3/bin/python"
PROXY = "http://127.0.0.1:10809"
ROUTES = {"github": {"kind": "xray", "base": "", "proxy": PROXY}}

# whether the URL is reached without the proxy, by each library that is there
QUERY_SCRIPT = """
import json, sys, urllib.request, urllib.parse
def by_httpx(url):
    import httpx
    client = httpx.Client()
    return client._transport_for_url(httpx.URL(url)) is client._transport
def by_requests(url):
    import requests
    return requests.utils.get_environ_proxies(url) == {}
def by_urllib(url):
    return bool(urllib.request.proxy_bypass(urllib.parse.urlsplit(url).netloc))
url, *names = sys.argv[1:]
print(json.dumps([bool(globals()["by_" + name](url)) for name in names]))
"""


def direct(no_proxy: str, url: str, httpx_only: bool = False) -> set:
    assert PYTHON.exists(), "The httpx that the WebUI uses is not installed here. Run make gradio."
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environment.update({"http_proxy": PROXY, "https_proxy": PROXY, "no_proxy": no_proxy, "NO_PROXY": no_proxy})
    names = ["httpx"] if httpx_only else ["httpx", "urllib"]
    answers = []
    for python, requested in ((PYTHON, names), (sys.executable, [] if httpx_only else ["requests"])):
        if requested:
            done = subprocess.run(
                [python, "-c", QUERY_SCRIPT, url, *requested], capture_output=True, text=True, env=environment
            )
            assert done.returncode == 0, done.stderr
            answers += json.loads(done.stdout)
    return set(answers)


def portable(*entries: str) -> str:
    found = filter_module.route_environment(ROUTES, ["github"], list(entries))
    assert found["NO_PROXY"] == found["no_proxy"]
    return found["no_proxy"]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("example.com", "https://example.com/"),
        (".example.com", "https://example.com/"),
        (".example.com", "https://a.example.com/"),
        ("*.example.com", "https://a.example.com/"),
        ("Example.COM.", "https://a.example.com/"),
        ("https://mirror.example.com/simple", "https://mirror.example.com/"),
        ("10.1.2.3", "http://10.1.2.3/"),
        ("10.1.2.0/30", "http://10.1.2.2/"),
        ("localhost", "http://localhost/"),
        (" near.example.com ", "https://near.example.com/"),
    ],
)
def test_all_libraries_honour_the_form_that_is_written(entry, url):
    assert direct(portable(entry), url) == {True}
    assert direct(portable(entry), "https://github.com/") == {False}


BREAKING = [
    "fd00::/8",
    "2001:db8::/32",
    "[::1]",
    "[fd00::]/8",
    "[::1]:8080",
    "fe80::1%eth0",
    "a b",
    "x:y",
    "[",
    "http://[",
    "a/b:c",
]


@pytest.mark.parametrize("entry", BREAKING)
def test_nothing_ends_httpx(entry):
    text = portable(entry, "localhost")
    assert text.endswith("localhost")
    assert direct(text, "https://github.com/", httpx_only=True) == {False}


def test_what_is_left_out_is_reported(monkeypatch):
    reported = []
    monkeypatch.setattr(filter_module.Display, "warning", lambda self, text, *more: reported.append(text))
    assert portable("fd00::/8", "::1", "10.0.0.0/8", "", "[fd00::1]") == "::1,10.0.0.0/8,fd00::1"
    assert len(reported) == 1 and "'fd00::/8' is left out" in reported[0] and "sdops_no_proxy" in reported[0]
    assert no_proxy_forms("fd00::/126") == ["fd00::", "fd00::1", "fd00::2", "fd00::3"]

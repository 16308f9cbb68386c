"""A WebUI, or whatever took its port, that answers without end."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.webui_api import client


def test_endless_error_is_truncated(serve):
    """The oracle is the server, which counts what was taken from it."""
    sent = []

    def pieces():
        while True:
            yield b"out of order " * 5000
            sent.append(65000)

    url, _ = serve(lambda path, headers: (500, {"Content-Length": None, "Connection": "close"}, pieces()))
    with pytest.raises(client.WebuiStatusError, match="answered 500: out of order") as failed:
        client.Webui(url, timeout=10).options()
    assert len(str(failed.value)) < 700
    assert sum(sent) < 16 << 20

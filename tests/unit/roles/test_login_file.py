"""What a login shell gets of the proxy, and what the box's first process does not."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).resolve().parents[3] / "roles/xray_proxy/templates/proxy.sh.j2"


@pytest.fixture
def snippet(tmp_path) -> Path:
    made = jinja2.Environment(undefined=jinja2.StrictUndefined)
    made.filters["quote"] = shlex.quote
    path = tmp_path / "proxy.sh"
    path.write_text(
        made.from_string(TEMPLATE.read_text()).render(
            ansible_managed="managed", sdops_proxy_http_port=10809, sdops_no_proxy_all=["localhost", "a b"]
        )
    )
    return path


def sourced(snippet: Path, pid: str) -> str:
    """The environment after sourcing, by a shell that takes itself for the process ``pid``."""
    text = snippet.read_text().replace("$$", pid)
    snippet.write_text(text)
    done = subprocess.run(
        ["sh", "-c", f". {shlex.quote(str(snippet))}; env"],
        env={"all_proxy": "socks5://127.0.0.1:9", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_login_shell_has_the_proxy_and_no_stale_one(snippet):
    found = sourced(snippet, "4242").splitlines()
    assert "https_proxy=http://127.0.0.1:10809" in found and "no_proxy=localhost,a b" in found
    assert not [line for line in found if line.lower().startswith("all_proxy")]


def test_the_first_process_has_none(snippet):
    assert "10809" not in sourced(snippet, "1")

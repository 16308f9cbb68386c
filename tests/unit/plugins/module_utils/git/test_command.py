"""What git says, told in sentences that help, and without anybody's password."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.git.command import Git, explain_failure
from ansible_collections.sdops.webui.plugins.module_utils.urls import redact_logins, url_login_secrets


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("fatal: repository 'https://h/x.git/' not found", "gone, has moved or is private"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "gone, has moved or is private"),
        ("fatal: remote error: upload-pack: not our ref 0123", "no such commit"),
        ("fatal: Authentication failed for 'https://h/x.git/'", "credentials"),
        ("fatal: unable to access 'https://h/': server certificate verification failed", "GIT_SSL_CAINFO"),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "http_proxy"),
        ("fatal: write error: No space left on device", "disk is full"),
        ("fatal: the remote end hung up unexpectedly", "run again"),
    ],
)
def test_explain(output: str, expected: str) -> None:
    text = explain_failure("BLIP", "https://user:hunter2@h/x.git", "fetching", output)
    assert text.startswith("BLIP: fetching of https://h/x.git failed.")
    assert expected in text


def test_redact() -> None:
    text = "fatal: unable to access 'https://me:ghp_secret@git.example.org/x.git/': and http://tok@h/y"
    assert redact_logins(text) == "fatal: unable to access 'https://git.example.org/x.git/': and http://h/y"
    assert redact_logins("git@github.com:o/r.git") == "git@github.com:o/r.git"
    assert url_login_secrets("https://me:ghp_secret@h/x") == ["me:ghp_secret@", "ghp_secret"]
    assert url_login_secrets("https://ghp_secret@h/x") == ["ghp_secret@", "ghp_secret"]
    assert url_login_secrets("https://git@h/x") == ["git@"]  # alone it stands in every path of git
    assert url_login_secrets("https://h/x") == []


def test_the_users_own_configuration_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = from home\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    with Git([str(tmp_path / "a b")]) as git:
        assert git.run(str(tmp_path), "config", "user.name").out == "from home\n"
        assert git.run(str(tmp_path), "config", "--get-all", "safe.directory").out == str(tmp_path / "a b") + "\n"
        own = git.environment["GIT_CONFIG_GLOBAL"]
    assert not os.path.exists(own)


MANAGED_BLOCK = "# BEGIN sdops.webui proxy\n[http]\n\tproxy = http://127.0.0.1:10809\n# END sdops.webui proxy\n"
THEIRS = "[http]\n\tproxy = http://corp.example.com:3128\n"


@pytest.mark.parametrize(
    ("settings", "environment", "proxy"),
    [
        (MANAGED_BLOCK, {"https_proxy": "http://172.16.0.1:12798"}, "http://172.16.0.1:12798"),
        (MANAGED_BLOCK, {}, ""),
        (THEIRS, {"http_proxy": "http://172.16.0.1:12798"}, "http://172.16.0.1:12798"),
        # what the user has put there himself is left alone where nothing was chosen
        (THEIRS, {}, "http://corp.example.com:3128"),
    ],
)
def test_the_chosen_route_wins_over_the_one_for_logins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, environment: dict, proxy: str
) -> None:
    (tmp_path / ".gitconfig").write_text(settings)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "GIT_CONFIG_GLOBAL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Git([str(tmp_path)]) as git:
        assert git.run(str(tmp_path), "config", "http.proxy").out == proxy + "\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to somebody else needs root")
def test_a_checkout_of_another_owner(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    subprocess.run(["git", "init", "--quiet", str(theirs)], check=True)
    subprocess.run(["chown", "-R", "65534:65534", str(theirs)], check=True)
    with Git([str(tmp_path / "other")]) as git:
        assert "dubious ownership" in git.run(str(theirs), "status").err
    with Git([str(theirs)]) as git:
        assert git.run(str(theirs), "status").rc == 0


def test_settings_for_single_addresses_do_not_lead_past_the_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git's own config is the oracle: http.URL.proxy is more specific than http.proxy, the longest insteadOf wins."""
    (tmp_path / ".gitconfig").write_text(
        '[http "https://github.com"]\n\tproxy = http://dead.example.com:1\n'
        '[url "https://slow.example.com/https://github.com/"]\n\tinsteadOf = https://github.com/\n'
        '[url "https://me:token@github.com/"]\n\tinsteadOf = https://github.com/mine/\n'
        '[url "git@github.com:"]\n\tinsteadOf = https://github.com/theirs/\n'
        '[user]\n\tname = a \\"b\\\\\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "GIT_CONFIG_GLOBAL":
            monkeypatch.delenv(name)

    def seen(proxy: str) -> tuple:
        if proxy:
            monkeypatch.setenv("https_proxy", proxy)
        with Git([]) as git:
            urls = [
                git.run(str(tmp_path), "ls-remote", "--get-url", "https://github.com/" + name).out.strip()
                for name in ("a/b", "mine/x", "theirs/y")
            ]
            requested = git.run(
                str(tmp_path), "config", "--get-urlmatch", "http.proxy", "https://github.com/a/b"
            ).out.strip()
            assert git.run(str(tmp_path), "config", "user.name").out == 'a "b\\\n'
            return (requested, *urls)

    # somebody's login for the same host stays; another host does not, and neither does ssh, which no proxy leads to
    plain = ("https://github.com/a/b", "https://me:token@github.com/x")
    assert seen("") == ("http://dead.example.com:1", *plain, "git@github.com:y")
    assert seen("http://127.0.0.1:10809") == ("http://127.0.0.1:10809", *plain, "https://github.com/theirs/y")

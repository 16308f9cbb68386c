"""The config and the core of a client, against a core that takes or refuses what the test wants."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

SECRET = "correct-horse-battery"
# refuses what has BAD in it, in the words of the real one: with the value
CORE = """#!/bin/sh
[ "$1" = version ] && echo 'Xray {version} (test)' && exit 0
if grep -q '{refuses}' "$4"; then echo "Failed to start: invalid shortId: $(sed -n 's/.*"shortId": "\\([^"]*\\)".*/\\1/p' "$4")"; exit 23; fi
echo 'Configuration OK.'
"""
GOOD = {
    "outbounds": [{"protocol": "vless", "settings": {"shortId": SECRET}}],
    "routing": {"rules": [{"ip": ["10.0.0.0/99"]}]},
}


def core(dest: Path, version: str, rejects: str = "BAD") -> None:
    (dest / version).mkdir(parents=True)
    program = dest / version / "xray"
    program.write_text(CORE.format(version=version, refuses=rejects))
    program.chmod(0o755)


@pytest.fixture
def dest(tmp_path):
    core(tmp_path / "xray", "26.7.28")
    return tmp_path / "xray"


def config(**more) -> str:
    return json.dumps({**GOOD, **more})


def state(dest: Path) -> tuple[str, str]:
    return str((dest / "current").readlink()), (dest / "config.json").read_text()


def test_client_config_is_installed_and_unchanged_on_repeat(dest, four_times):
    planned, applied = four_times("xray_client_config", dest=str(dest), version="26.7.28", config=config())
    assert state(dest) == ("26.7.28", config())
    assert stat.S_IMODE((dest / "config.json").stat().st_mode) == 0o600
    assert planned["inputs"] == applied["inputs"]
    assert SECRET not in json.dumps([planned, applied])
    assert sorted(path.name for path in dest.iterdir()) == ["26.7.28", "config.json", "current", "previous.json"]
    assert stat.S_IMODE((dest / "previous.json").stat().st_mode) == 0o600


def test_a_rejection_changes_nothing_and_leaks_no_secret(dest, run_module):
    run_module("xray_client_config", dest=str(dest), version="26.7.28", config=config())
    before = state(dest)
    bad = config(outbounds=[{"protocol": "vless", "settings": {"shortId": "BAD-" + SECRET}}])
    for check in (True, False):
        found = run_module("xray_client_config", check=check, dest=str(dest), version="26.7.28", config=bad)
        assert found["failed"]
        assert "rejects the config" in found["msg"] and "invalid shortId: ***" in found["msg"]
        assert SECRET not in json.dumps(found)
    assert state(dest) == before
    assert not list(dest.glob(".try-*"))


def test_a_new_core_tries_the_config_before_it_is_current(dest, run_module):
    run_module("xray_client_config", dest=str(dest), version="26.7.28", config=config())
    core(dest, "27.1.1", rejects="vless")
    found = run_module("xray_client_config", dest=str(dest), version="27.1.1", config=config())
    assert found["failed"] and "27.1.1 rejects" in found["msg"]
    assert state(dest) == ("26.7.28", config())


def test_what_was_in_use_is_restored(dest, run_module):
    assert run_module("xray_client_config", dest=str(dest), state="previous")["changed"] is False
    first = run_module("xray_client_config", dest=str(dest), version="26.7.28", config=config())
    core(dest, "27.1.1")
    second = run_module("xray_client_config", dest=str(dest), version="27.1.1", config=config(stats={}))
    assert second["inputs"] != first["inputs"]
    planned = run_module("xray_client_config", check=True, dest=str(dest), state="previous")
    assert state(dest) == ("27.1.1", config(stats={}))
    restored = run_module("xray_client_config", dest=str(dest), state="previous")
    assert state(dest) == ("26.7.28", config())
    assert restored["changed"] is planned["changed"] is True
    assert restored["inputs"] == planned["inputs"] == first["inputs"]
    assert run_module("xray_client_config", dest=str(dest), state="previous")["changed"] is False


def test_another_list_is_another_input(dest, run_module):
    options = {"dest": str(dest), "version": "26.7.28", "config": config()}
    first = run_module("xray_client_config", **options)
    (dest / "26.7.28" / "geosite.dat").write_text("list")
    repeated = run_module("xray_client_config", **options)
    assert repeated["changed"] is False and repeated["inputs"] != first["inputs"]


def test_check_mode_before_the_core_is_there(dest, run_module):
    found = run_module("xray_client_config", check=True, dest=str(dest / "none"), version="26.7.28", config=config())
    assert (found["failed"], found["changed"]) == (False, True)
    missing = run_module("xray_client_config", dest=str(dest), version="27.1.1", config=config())
    assert missing["failed"] and "not installed" in missing["msg"]


def test_text_that_is_no_json_is_rejected(dest, run_module):
    found = run_module("xray_client_config", dest=str(dest), version="26.7.28", config=f"{{'a': '{SECRET}'}}")
    assert found["failed"] and "no JSON" in found["msg"] and SECRET not in json.dumps(found)


def test_rule_errors_stay_readable(dest):
    from ansible_collections.sdops.webui.plugins.module_utils.xray.client import mask_config_secrets

    output = mask_config_secrets(f'invalid network 10.0.0.0/99 beside {SECRET} and "a\\"b"', config(log={"x": 'a"b'}))
    assert output == 'invalid network 10.0.0.0/99 beside *** and "***"'

"""webui_ready, webui_options, webui_image and the launch wrapper against the stand-in WebUI."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.webui_api.png import PngError, parse_infotext, read_text

PASSWORD = "correct-horse-battery"
IMAGE = {"prompt": "a hill", "seed": 3, "steps": 2, "width": 64, "height": 64}


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def test_ready_means_a_loaded_model(webui, ready):
    assert "tiny" in ready["checkpoint"]


def test_the_password_is_nowhere_but_in_its_file(webui, ready):
    assert get(webui.url + "/sdapi/v1/options")[0] == 401
    assert PASSWORD not in get(webui.url + "/internal/sysinfo")[1]
    assert PASSWORD not in webui.log.read_text()
    for name in ("cmdline", "environ"):
        assert PASSWORD.encode() not in Path(f"/proc/{webui.process.pid}/{name}").read_bytes()


def test_all_proxy_is_taken_away(webui, ready):
    environment = get(webui.url + "/internal/sysinfo")[1]
    assert "socks5h" not in environment


def test_wrong_credentials_fail_at_once(webui, ready, run_module, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("sdops:wrong\n")
    wrong.chmod(0o600)
    found = run_module("webui_ready", url=webui.url, credentials_file=str(wrong), timeout=60)
    assert found["failed"]
    assert "refuses the credentials" in found["msg"]


def test_readable_credentials_are_refused(webui, run_module, tmp_path):
    loose = tmp_path / "loose"
    loose.write_text("a:b\n")
    loose.chmod(0o644)
    found = run_module("webui_ready", url=webui.url, credentials_file=str(loose), timeout=1)
    assert found["failed"]
    assert "can be read by others" in found["msg"]


def test_not_ready_tells_what_was_seen_last(run_module, tmp_path):
    log = tmp_path / "webui.log"
    log.write_text("Launching Web UI with arguments: --secret hunter2\nCUDA out of memory\n")
    found = run_module("webui_ready", url="http://127.0.0.1:9", timeout=1, log_file=str(log))
    assert found["failed"]
    assert "CUDA out of memory" in found["msg"]
    assert "hunter2" not in found["msg"]


def test_options_live_keep_their_types(webui, ready, four_times):
    four_times("webui_options", **webui.access, options={"CLIP_stop_at_last_layers": 2, "sd_vae": "None"})


def test_an_unknown_option_is_named(webui, ready, run_module):
    found = run_module("webui_options", **webui.access, options={"no_such_option": 1})
    assert found["failed"]
    assert "no_such_option" in found["msg"]


def test_options_offline(tmp_path, four_times, run_module):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"keep": [1], "CLIP_stop_at_last_layers": "2"}))
    four_times("webui_options", webui_dir=str(tmp_path), options={"CLIP_stop_at_last_layers": 2})
    assert json.loads(config.read_text()) == {"keep": [1], "CLIP_stop_at_last_layers": 2}
    config.write_text("{")
    assert "no valid JSON" in run_module("webui_options", webui_dir=str(tmp_path), options={"a": 1})["msg"]


def test_image(webui, ready, four_times, run_module, tmp_path):
    dest = tmp_path / "proof.png"
    wish = {**webui.access, **IMAGE, "dest": str(dest)}
    _, applied = four_times("webui_image", **wish)
    assert applied["bytes"] == dest.stat().st_size
    assert parse_infotext(applied["infotext"])["Seed"] == "3"
    # rendering again gives the same bytes: nothing has changed
    assert run_module("webui_image", **wish, force=True)["changed"] is False
    assert run_module("webui_image", **{**wish, "seed": 4})["changed"] is True
    whole = dest.read_bytes()
    dest.write_bytes(whole[:-20])
    assert run_module("webui_image", **{**wish, "seed": 4})["changed"] is True
    assert dest.read_bytes() == whole


def test_the_webuis_own_error_is_passed_on(webui, ready, run_module, tmp_path):
    found = run_module("webui_image", **webui.access, **{**IMAGE, "width": 4096}, dest=str(tmp_path / "x.png"))
    assert found["failed"]
    assert "answered 422" in found["msg"]
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("damage", [lambda d: b"GIF89a" + d, lambda d: d[:-8], lambda d: d[:60] + b"!" + d[61:]])
def test_damaged_pngs_are_told(webui, ready, run_module, tmp_path, damage):
    dest = tmp_path / "x.png"
    run_module("webui_image", **webui.access, **IMAGE, dest=str(dest))
    with pytest.raises(PngError):
        read_text(damage(dest.read_bytes()))

"""webui_ready, webui_options, webui_image and the launch wrapper against the stand-in WebUI."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.webui_api.png import PngError, parse_infotext, read_text

PASSWORD = "correct-horse-battery"
IMAGE = {"prompt": "a hill", "seed": 3, "steps": 2, "width": 64, "height": 64}


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def get(url, webui=None, cookie=None):
    """(status, body); with ``webui`` as its API user."""
    request = urllib.request.Request(url)
    if webui:
        secret = base64.b64encode(webui.credentials.read_text().strip().encode()).decode()
        request.add_header("Authorization", "Basic " + secret)
    if cookie:
        request.add_header("Cookie", cookie)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def test_ready_means_a_loaded_model(webui, ready):
    assert "tiny" in ready["checkpoint"]


def test_the_password_is_nowhere_but_in_its_file(webui, ready):
    assert get(webui.url + "/sdapi/v1/options")[0] == 401
    assert PASSWORD not in get(webui.url + "/internal/sysinfo", webui)[1]
    assert PASSWORD not in webui.log.read_text()
    for name in ("cmdline", "environ"):
        assert PASSWORD.encode() not in Path(f"/proc/{webui.process.pid}/{name}").read_bytes()


def test_all_proxy_is_taken_away(webui, ready):
    environment = get(webui.url + "/internal/sysinfo", webui)[1]
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


def test_doors_that_upstream_leaves_open_are_closed(webui, ready):
    for path in (
        "/internal/sysinfo",
        "/internal/progress",
        "/sdapi/v1/loras",
        "/docs",
        "/openapi.json",
        "/config",
        "/x",
    ):
        assert get(webui.url + path)[0] == 401, path
        assert get(webui.url + path, cookie="access-token=guessed; access-token-unsecure=")[0] == 401, path
    assert get(webui.url + "/internal/sysinfo", webui)[0] == 200
    assert get(webui.url + "/internal/ping")[0] == 200
    wrong = urllib.request.Request(webui.url + "/docs", headers={"Authorization": "Basic c2RvcHM6d3Jvbmc="})
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(wrong, timeout=10)
    assert told.value.code == 401


def test_the_page_is_for_those_who_logged_in(webui, ready):
    """As a browser: the login page, the login, and its cookie from then on."""
    assert "Login" in get(webui.url + "/")[1]
    form = urllib.parse.urlencode({"username": "sdops", "password": PASSWORD}).encode()
    with urllib.request.urlopen(webui.url + "/login", data=form, timeout=10) as answer:
        cookie = "; ".join(line.split(";")[0] for line in answer.headers.get_all("Set-Cookie"))
    assert get(webui.url + "/sdapi/v1/loras", cookie=cookie)[0] == 200
    assert get(webui.url + "/config", cookie=cookie)[0] == 200


def check_arguments(webui, tmp_path, *arguments):
    config = json.loads((webui.directory.parent / "launch.json").read_text())
    (tmp_path / "launch.json").write_text(json.dumps({**config, "args": [*config["args"], *arguments]}))
    wrapper = Path(__file__).parents[3] / "roles/webui_service/files/launch_webui.py"
    command = [sys.executable, str(wrapper), "--check", str(tmp_path / "launch.json")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_arguments_are_judged_by_the_webuis_own_parser(webui, tmp_path):
    assert check_arguments(webui, tmp_path, "--medvram").returncode == 0
    told = check_arguments(webui, tmp_path, "--medvrm-typo")
    assert told.returncode != 0
    assert "unrecognized arguments: --medvrm-typo" in told.stderr
    assert "webui_service_extra_args" in told.stderr
    assert check_arguments(webui, tmp_path, "--port", "x").returncode != 0
    assert PASSWORD not in told.stderr + told.stdout


def test_the_log_is_explained(run_module, tmp_path):
    log = tmp_path / "webui.log"
    log.write_text("ModuleNotFoundError: No module named 'x'\nOSError: No space left on device\n")
    found = run_module("webui_ready", url="http://127.0.0.1:9", timeout=1, log_file=str(log))
    assert "The disk is full" in found["msg"]
    assert "package is missing" not in found["msg"]


def test_members_of_a_list(tmp_path, four_times, run_module):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"disabled_extensions": ["mine", "old"]}))
    wish = {"disabled_extensions": {"present": ["new"], "absent": ["old", "never"]}}
    four_times("webui_options", webui_dir=str(tmp_path), lists=wish)
    assert json.loads(config.read_text()) == {"disabled_extensions": ["mine", "new"]}
    found = run_module("webui_options", webui_dir=str(tmp_path), lists={"disabled_extensions": {"add": ["x"]}})
    assert found["failed"] and "add" in found["msg"]
    config.write_text(json.dumps({"a": 1}))
    assert "no list" in run_module("webui_options", webui_dir=str(tmp_path), lists={"a": {"present": ["x"]}})["msg"]


def test_members_of_a_list_live(webui, ready, four_times):
    four_times("webui_options", **webui.access, lists={"disabled_extensions": {"present": ["x"]}})


def test_the_owner_of_a_port_is_named(webui, ready, run_module):
    port = int(webui.url.rpartition(":")[2])
    (owner,) = run_module("port_owner", port=port)["owners"]
    assert owner["pid"] == webui.process.pid
    assert "python" in owner["command"]
    assert PASSWORD not in owner["command"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound, and nobody listens
        assert run_module("port_owner", port=probe.getsockname()[1])["owners"] == []


@pytest.fixture
def idle(webui, tmp_path):
    """Start the watch over the stand-in; gives its log and a file that its command makes."""
    running = []

    def start(minutes, **more):
        config = {"url": webui.url, "credentials_file": str(webui.credentials), "minutes": minutes, "interval": 0.2}
        # what else this machine does must not decide the test
        (tmp_path / "proc").mkdir()
        config.update(
            {"proc": str(tmp_path / "proc"), "command": f"touch '{tmp_path}/the end'", "dry_run": False, **more}
        )
        (tmp_path / "idle.json").write_text(json.dumps(config))
        script = Path(__file__).parents[3] / "roles/webui_service/files/idle_shutdown.py"
        log = tmp_path / "idle.log"
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "idle.json")], stdout=log.open("w"))
        running.append(process)
        return log, tmp_path / "the end"

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_an_idle_box_ends(webui, ready, idle):
    log, ended = idle(0.03)
    wait_for(ended.exists, 20)
    assert "running touch" in log.read_text()
    wait_for(lambda: "it ended with 0" in log.read_text(), 5)


def test_a_dry_run_only_tells(webui, ready, idle):
    log, ended = idle(0.01, dry_run=True)
    wait_for(lambda: log.read_text().count("would run") > 1, 20)
    assert not ended.exists()


def test_a_box_in_use_does_not_end(webui, ready, idle, run_module, tmp_path):
    log, ended = idle(0.05)
    until = time.monotonic() + 6
    seed = 0
    while time.monotonic() < until:
        seed += 1
        run_module("webui_image", **webui.access, **{**IMAGE, "seed": seed}, dest=str(tmp_path / "x.png"))
    assert not ended.exists(), log.read_text()
    wait_for(ended.exists, 20)


def test_a_playbook_counts_as_use(webui, ready, idle, tmp_path):
    module = tmp_path / "AnsiballZ_something.py"
    module.write_text("import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, str(module)])
    try:
        log, ended = idle(0.03, proc="/proc")
        time.sleep(5)
        assert not ended.exists(), log.read_text()
    finally:
        process.kill()
        process.wait()


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

"""program_check_info, webui_options, webui_txt2img and the launch wrapper against the fake WebUI."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import PngError
from ansible_collections.sdops.webui.plugins.module_utils.webui_api.png import parse_infotext, read_text
from helpers.paths import ROOT

PASSWORD = "correct-horse-battery"
IMAGE = {"prompt": "a hill", "seed": 3, "steps": 2, "width": 64, "height": 64}


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def post(webui, path):
    request = urllib.request.Request(webui.url + path, data=b"{}", method="POST")
    secret = base64.b64encode(webui.credentials.read_text().strip().encode()).decode()
    request.add_header("Authorization", "Basic " + secret)
    urllib.request.urlopen(request, timeout=30).read()


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
    assert "tiny" in ready["webui"]["checkpoint"]


def test_a_hash_in_the_settings_is_no_loaded_model(tmp_path, run_module, start_webui):
    """What the WebUI keeps in config.json from the last time, beside a checkpoint that it cannot load."""
    stale = {"sd_model_checkpoint": "tiny.safetensors [0123456789]", "sd_checkpoint_hash": "0123456789" * 6 + "0123"}
    garbage = b"\xff" * 4096
    running = start_webui(tmp_path, checkpoint=garbage, settings=stale)
    try:
        found = run_module("program_check_info", webui=dict(**running.access, timeout=60, log_file=str(running.log)))
        assert found["failed"], found
        assert "it failed 3 times while waiting for a loaded model" in found["msg"]
        assert not found["msg"].count("60 seconds")
        # without a model it is ready
        found = run_module("program_check_info", webui=dict(**running.access, timeout=60, need_model=False))
        assert not found["failed"], found
    finally:
        running.process.terminate()
        running.process.wait(20)


def test_being_ready_leaves_nothing_behind(webui, ready):
    assert not list(webui.directory.rglob("outputs/**/*.png"))


def test_another_process_on_the_port_is_no_ready_webui(webui, ready, supervisor, run_module):
    """A WebUI that a dead supervisord left behind answers; the one that supervisord runs does not get the port."""
    program = {"name": "webui", "supervisor_dir": str(supervisor), "command": "sleep 1000", "startsecs": 0}
    run_module("supervisor_program", **program)
    found = run_module(
        "program_check_info", webui=dict(**webui.access, timeout=60, program="webui", supervisor_dir=str(supervisor))
    )
    assert found["failed"] and "which supervisord did not start" in found["msg"]
    assert "launch_webui" in found["msg"] and f"pid {webui.process.pid}" in found["msg"]


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
    found = run_module("program_check_info", webui=dict(url=webui.url, credentials_file=str(wrong), timeout=60))
    assert found["failed"]
    assert "refuses the credentials" in found["msg"]


def test_readable_credentials_are_rejected(webui, run_module, tmp_path):
    loose = tmp_path / "loose"
    loose.write_text("a:b\n")
    loose.chmod(0o644)
    found = run_module("program_check_info", webui=dict(url=webui.url, credentials_file=str(loose), timeout=1))
    assert found["failed"]
    assert "can be read by others" in found["msg"]


def test_not_ready_reports_what_was_seen_last(run_module, tmp_path):
    log = tmp_path / "webui.log"
    log.write_text("Launching Web UI with arguments: --secret hunter2\nCUDA out of memory\n")
    found = run_module("program_check_info", webui=dict(url="http://127.0.0.1:9", timeout=1, log_file=str(log)))
    assert found["failed"]
    assert "CUDA out of memory" in found["msg"]
    assert "hunter2" not in found["msg"]


def test_options_live_keep_their_types(webui, ready, four_times):
    four_times("webui_options", **webui.access, options={"CLIP_stop_at_last_layers": 2, "sd_vae": "None"})


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("CLIP_stop_at_last_layers", "two"), ("samples_save", 1), ("CLIP_stop_at_last_layers", True), ("sd_vae", ["a"])],
)
def test_options_of_the_wrong_type_are_rejected(webui, ready, run_module, tmp_path, option, wrong):
    for where in (webui.access, {"webui_dir": str(tmp_path)}):
        found = run_module("webui_options", **where, options={option: wrong})
        assert found["failed"] and option in found["msg"] and "webui_service_options" in found["msg"]
    assert not (tmp_path / "config.json").exists()


def test_a_text_that_says_a_number_is_one(webui, ready, run_module, tmp_path):
    run_module("webui_options", **webui.access, options={"CLIP_stop_at_last_layers": 1})
    found = run_module(
        "webui_options", **webui.access, options={"CLIP_stop_at_last_layers": "3", "samples_save": "false"}
    )
    assert found["changed"], found
    saved = json.loads((webui.directory / "config.json").read_text())
    assert (saved["CLIP_stop_at_last_layers"], saved["samples_save"]) == (3, False)
    assert type(saved["CLIP_stop_at_last_layers"]) is int
    run_module("webui_options", webui_dir=str(tmp_path), options={"CLIP_stop_at_last_layers": "2"})
    assert json.loads((tmp_path / "config.json").read_text()) == {"CLIP_stop_at_last_layers": 2}


def test_a_checkpoint_by_all_its_names(webui, ready, run_module):
    title = ready["webui"]["checkpoint"]
    short = title[-11:-1]
    for name in ("tiny.safetensors", "tiny", title, short):
        found = run_module("webui_options", **webui.access, check=True, options={"sd_model_checkpoint": name})
        assert found["changed"] is False, (name, found)
    for name in ("other/tiny.safetensors", "tiny.safetensors [0123456789]", "0123456789"):
        found = run_module("webui_options", **webui.access, check=True, options={"sd_model_checkpoint": name})
        assert found["changed"] is True, name


def test_a_file_of_this_name_in_another_folder_is_another_one(webui, ready, run_module):
    folder = webui.directory / "models/Stable-diffusion/other"
    folder.mkdir()
    shutil.copy(folder.parent / "tiny.safetensors", folder)
    post(webui, "/sdapi/v1/refresh-checkpoints")
    try:
        for name in ("other/tiny.safetensors", "tiny.safetensors"):
            assert run_module("webui_options", **webui.access, options={"sd_model_checkpoint": name})["changed"], name
            assert not run_module("webui_options", **webui.access, options={"sd_model_checkpoint": name})["changed"], (
                name
            )
    finally:
        shutil.rmtree(folder)
        post(webui, "/sdapi/v1/refresh-checkpoints")


def test_with_both_the_one_that_runs_is_queried_first(webui, ready, run_module, tmp_path):
    """The file is for a WebUI that does not answer, and for one that was started with other credentials."""
    wrong = tmp_path / "wrong"
    wrong.write_text("sdops:wrong\n")
    wrong.chmod(0o600)
    request = {"webui_dir": str(tmp_path), "options": {"jpeg_quality": 70}}
    assert run_module("webui_options", **webui.access, **request)["changed"]
    assert not (tmp_path / "config.json").exists()
    assert run_module("webui_options", url=webui.url, credentials_file=str(wrong), **request)["changed"]
    assert json.loads((tmp_path / "config.json").read_text()) == {"jpeg_quality": 70}
    (tmp_path / "config.json").chmod(0o600)
    nowhere = {"url": "http://127.0.0.1:9", "webui_dir": str(tmp_path), "options": {"jpeg_quality": 71}}
    assert run_module("webui_options", **nowhere)["changed"]
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert run_module("webui_options", **webui.access, webui_dir=str(tmp_path), options={"no_such": 1})["failed"]
    missing = {**nowhere, "webui_dir": str(tmp_path / "missing")}
    assert "Run the role sd_webui" in run_module("webui_options", **missing)["msg"]
    assert run_module("webui_options", **missing, check=True)["changed"]


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
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(wrong, timeout=10)
    assert caught.value.code == 401


def test_the_page_is_for_those_who_logged_in(webui, ready):
    """As a browser: the login page, the login, and its cookie from then on."""
    assert "Login" in get(webui.url + "/")[1]
    form = urllib.parse.urlencode({"username": "sdops", "password": PASSWORD}).encode()
    with urllib.request.urlopen(webui.url + "/login", data=form, timeout=10) as answer:
        cookie = "; ".join(line.split(";")[0] for line in answer.headers.get_all("Set-Cookie"))
    assert get(webui.url + "/sdapi/v1/loras", cookie=cookie)[0] == 200
    assert get(webui.url + "/config", cookie=cookie)[0] == 200


def check_arguments(webui, tmp_path, *arguments, **more):
    config = json.loads((webui.directory.parent / "launch.json").read_text())
    (tmp_path / "launch.json").write_text(json.dumps({**config, "args": [*config["args"], *arguments], **more}))
    wrapper = ROOT / "roles/webui_service/files/launch_webui.py"
    command = [sys.executable, str(wrapper), "--check", str(tmp_path / "launch.json")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_arguments_are_validated_by_the_webuis_own_parser(webui, tmp_path):
    assert check_arguments(webui, tmp_path, "--medvram").returncode == 0
    caught = check_arguments(webui, tmp_path, "--medvrm-typo")
    assert caught.returncode != 0
    assert "unrecognized arguments: --medvrm-typo" in caught.stderr
    assert "webui_service_extra_args" in caught.stderr
    assert check_arguments(webui, tmp_path, "--port", "x").returncode != 0
    assert PASSWORD not in caught.stderr + caught.stdout


def test_a_part_of_a_flag_is_no_flag(webui, tmp_path):
    assert check_arguments(webui, tmp_path, "--medv").returncode != 0
    assert check_arguments(webui, tmp_path, "--nowe").returncode != 0


def test_a_webui_that_cannot_be_imported_is_not_validated(webui, tmp_path):
    """Its start tells what is wrong, and a version may be gone back from; an argument is not to blame."""
    broken = tmp_path / "webui"
    shutil.copytree(webui.directory, broken, ignore=shutil.ignore_patterns("models", "__pycache__"))
    (broken / "modules/cmd_args.py").write_text("raise RuntimeError('this version is broken')\n")
    caught = check_arguments(webui, tmp_path, "--no-such", webui_dir=str(broken))
    assert caught.returncode == 0 and "this version is broken" in caught.stderr
    # an old one whose preload_extensions looks into every directory
    shutil.copy(webui.directory / "modules/cmd_args.py", broken / "modules")
    script = broken / "modules/script_loading.py"
    script.write_text(
        script.read_text()
        .replace(", extension_list: Optional[Iterable[str]] = None", "")
        .replace("if extension_list is None else extension_list", "")
    )
    assert check_arguments(webui, tmp_path, "--medvram", webui_dir=str(broken)).returncode == 0
    assert check_arguments(webui, tmp_path, "--no-such", webui_dir=str(broken)).returncode != 0


def test_flags_of_an_extension_go_with_it(webui, tmp_path):
    """Disabled in the page, an extension does not know its flags any more, and they would end the WebUI."""
    place = webui.directory / "extensions/flagged"
    place.mkdir(parents=True)
    (place / "preload.py").write_text(
        "def preload(parser):\n    parser.add_argument('--own-flag', action='store_true')\n"
    )
    settings = tmp_path / "config.json"
    more = {
        "extension_args": {"flagged": ["--own-flag"], "gone": ["--gone-flag"]},
        "extensions_dir": str(place.parent),
        "settings": str(settings),
    }
    try:
        for state, flags in (
            ({}, True),
            ({"disabled_extensions": ["flagged"]}, False),
            ({"disable_all_extensions": "extra"}, False),
        ):
            settings.write_text(json.dumps(state))
            caught = check_arguments(webui, tmp_path, "--ui-settings-file", str(settings), **more)
            assert caught.returncode == 0, caught.stderr
            wrapper = load_wrapper()
            config = json.loads((tmp_path / "launch.json").read_text())
            assert ("--own-flag" in wrapper["arguments_of"](config)) is flags
            assert "--gone-flag" not in wrapper["arguments_of"](config)
        settings.write_text("{}")
        config["args"].append("--disable-extra-extensions")
        assert "--own-flag" not in load_wrapper()["arguments_of"](config)
    finally:
        shutil.rmtree(place)


def test_tcmalloc_is_loaded_by_a_new_image_of_the_process(tmp_path):
    """With the allocator where the box has it, the wrapper replaces itself once; a value of the user's stays."""
    library = tmp_path / "libtcmalloc_minimal.so.4"
    built = subprocess.run(["cc", "-shared", "-o", str(library), "-x", "c", "/dev/null"], check=False)
    if built.returncode:
        pytest.skip("no C compiler")
    webui = tmp_path / "webui"
    webui.mkdir()
    (webui / "launch.py").write_text("import os, sys; print(os.environ.get('LD_PRELOAD'), os.getpid(), sys.argv)\n")
    (tmp_path / "launch.json").write_text(json.dumps({"webui_dir": str(webui), "args": ["--x"], "tcmalloc": True}))
    wrapper = ROOT / "roles/webui_service/files/launch_webui.py"
    text = wrapper.read_text().replace("LIBRARIES = (", f"LIBRARIES = ({str(tmp_path)!r}, ")
    (tmp_path / "wrapper.py").write_text(text)
    command = [sys.executable, str(tmp_path / "wrapper.py"), str(tmp_path / "launch.json")]
    for given, expected in (("", str(library)), (str(library) + ":", str(library) + ":")):
        environment = (
            {**os.environ, "LD_PRELOAD": given} if given else {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        )
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        output = process.communicate(timeout=30)[0].split()
        assert output[:2] == [expected, str(process.pid)] and output[-1] == "'--x']"


def load_wrapper():
    """The wrapper's functions, without starting anything."""
    text = (ROOT / "roles/webui_service/files/launch_webui.py").read_text()
    names: dict = {}
    exec(compile(text[: text.rindex("main()")], "launch_webui.py", "exec"), names)
    return names


def test_the_log_is_explained(run_module, tmp_path):
    log = tmp_path / "webui.log"
    log.write_text("ModuleNotFoundError: No module named 'x'\nOSError: No space left on device\n")
    found = run_module("program_check_info", webui=dict(url="http://127.0.0.1:9", timeout=1, log_file=str(log)))
    assert "The disk is full" in found["msg"]
    assert "package is missing" not in found["msg"]


def test_members_of_a_list(tmp_path, four_times, run_module):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"disabled_extensions": ["mine", "old"]}))
    lists = {"disabled_extensions": {"present": ["new"], "absent": ["old", "never"]}}
    four_times("webui_options", webui_dir=str(tmp_path), lists=lists)
    assert json.loads(config.read_text()) == {"disabled_extensions": ["mine", "new"]}
    found = run_module("webui_options", webui_dir=str(tmp_path), lists={"disabled_extensions": {"add": ["x"]}})
    assert found["failed"] and "add" in found["msg"]
    config.write_text(json.dumps({"a": 1}))
    assert "no list" in run_module("webui_options", webui_dir=str(tmp_path), lists={"a": {"present": ["x"]}})["msg"]


def test_members_of_a_list_live(webui, ready, four_times, run_module):
    four_times("webui_options", **webui.access, lists={"disabled_extensions": {"present": ["x"]}})
    run_module("webui_options", **webui.access, lists={"disabled_extensions": {"absent": ["x"]}})


def test_the_owner_of_a_port_is_named(webui, ready, run_module, tmp_path):
    def owners(port):
        return run_module("host_state_info", ports=[port], supervisor_dir=str(tmp_path))["state"]["ports"][str(port)]

    (owner,) = owners(int(webui.url.rpartition(":")[2]))
    assert owner["pid"] == webui.process.pid
    assert "python" in owner["command"]
    assert PASSWORD not in owner["command"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound, and nobody listens
        assert owners(probe.getsockname()[1]) == []


@pytest.fixture
def idle(webui, tmp_path):
    """Start the watch over the fake; gives its log and a file that its command makes."""
    running = []

    def start(minutes, **more):
        config = {"url": webui.url, "credentials_file": str(webui.credentials), "minutes": minutes, "interval": 0.2}
        # what else this machine does must not decide the test
        (tmp_path / "proc").mkdir()
        config.update(
            {"proc": str(tmp_path / "proc"), "command": f"touch '{tmp_path}/the end'", "dry_run": False, **more}
        )
        (tmp_path / "idle.json").write_text(json.dumps(config))
        script = ROOT / "roles/webui_service/files/idle_shutdown.py"
        log = tmp_path / "idle.log"
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "idle.json")], stdout=log.open("w"))
        running.append(process)
        return log, tmp_path / "the end"

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_an_idle_host_shuts_down(webui, ready, idle):
    log, ended = idle(0.03)
    wait_for(ended.exists, 20)
    assert "running touch" in log.read_text()
    wait_for(lambda: "it ended with 0" in log.read_text(), 5)


def test_a_dry_run_only_reports(webui, ready, idle):
    log, ended = idle(0.01, dry_run=True)
    wait_for(lambda: log.read_text().count("would run") > 1, 20)
    assert not ended.exists()


def test_a_host_in_use_does_not_shut_down(webui, ready, idle, run_module, tmp_path):
    log, ended = idle(0.05)
    until = time.monotonic() + 6
    seed = 0
    while time.monotonic() < until:
        seed += 1
        run_module("webui_txt2img", **webui.access, **{**IMAGE, "seed": seed}, dest=str(tmp_path / "x.png"))
    assert not ended.exists(), log.read_text()
    wait_for(ended.exists, 20)


def test_an_answer_that_is_none_does_not_end_the_watch(webui, idle):
    """A WebUI that dies in the middle of an answer; something else on its port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        log, ended = idle(0.03, url=f"http://127.0.0.1:{server.getsockname()[1]}")
        server.settimeout(1)
        deadline = time.monotonic() + 20
        while not ended.exists() and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                client = server.accept()[0]
                client.recv(4096)
                client.sendall(b"nonsense\r\n\r\n")
                client.close()
    assert ended.exists(), log.read_text()


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


def test_options_of_a_stopped_webui_are_left_to_a_running_one(webui, ready, run_module, tmp_path):
    given = {"stopped_options": {"no_such": 1}, "lists": {"disabled_extensions": {"present": ["stopped"]}}}
    stopped = run_module("webui_options", webui_dir=str(tmp_path), url="http://127.0.0.1:9", **given)
    assert stopped["changed"] and json.loads((tmp_path / "config.json").read_text()) == {
        "no_such": 1,
        "disabled_extensions": ["stopped"],
    }
    running = run_module("webui_options", **webui.access, webui_dir=str(tmp_path), **given)
    assert running["actions"] == ["set disabled_extensions to ['stopped']"]
    run_module("webui_options", **webui.access, lists={"disabled_extensions": {"absent": ["stopped"]}})


def test_image(webui, ready, four_times, run_module, tmp_path):
    dest = tmp_path / "smoke_test.png"
    request = {**webui.access, **IMAGE, "dest": str(dest)}
    _, applied = four_times("webui_txt2img", **request)
    assert applied["bytes"] == dest.stat().st_size
    assert parse_infotext(applied["infotext"])["Seed"] == "3"
    # rendering again gives the same bytes: nothing has changed
    assert run_module("webui_txt2img", **request, force=True)["changed"] is False
    assert run_module("webui_txt2img", **{**request, "seed": 4})["changed"] is True
    whole = dest.read_bytes()
    dest.write_bytes(whole[:-20])
    assert run_module("webui_txt2img", **{**request, "seed": 4})["changed"] is True
    assert dest.read_bytes() == whole


def test_a_sampler_with_its_schedule_in_its_name(webui, ready, four_times, tmp_path):
    four_times("webui_txt2img", **webui.access, **IMAGE, sampler="DPM++ 2M Karras", dest=str(tmp_path / "x.png"))


def test_the_webuis_own_error_is_passed_on(webui, ready, run_module, tmp_path):
    found = run_module("webui_txt2img", **webui.access, **{**IMAGE, "width": 4096}, dest=str(tmp_path / "x.png"))
    assert found["failed"]
    assert "answered 422" in found["msg"]
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("damage", [lambda d: b"GIF89a" + d, lambda d: d[:-8], lambda d: d[:60] + b"!" + d[61:]])
def test_damaged_pngs_are_reported(webui, ready, run_module, tmp_path, damage):
    dest = tmp_path / "x.png"
    run_module("webui_txt2img", **webui.access, **IMAGE, dest=str(dest))
    with pytest.raises(PngError):
        read_text(damage(dest.read_bytes()))

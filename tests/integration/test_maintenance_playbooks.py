"""Playbooks for later, on a box without its GPU: what they may remove, and that they work at all."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.network.routes import SERVICES
from helpers.paths import BIN, ROOT
from helpers.processes import ends_within

UNINSTALL = str(ROOT / "playbooks/uninstall.yml")
STATUS = str(ROOT / "playbooks/status.yml")
LOGS = str(ROOT / "playbooks/logs.yml")


@pytest.fixture
def installed(site):
    """Directories as the roles make them, and one of the user's own."""
    data, home = site.base / "data", site.base / "home"
    for path in (
        data / "webui/.git",
        data / "webui/models",
        data / "env",
        data / "env.before",
        data / "env.extension",
        home / "secrets",
    ):
        path.mkdir(parents=True)
    (data / "webui/.git/config").write_text("[sdops]\n\tpin = 1\n")
    (data / "env/.sdops-made").write_text("")
    (data / "mine.txt").write_text("mine")
    (site.base / "boot.sh").write_text(
        "#!/bin/sh\n# BEGIN sdops.webui\nsupervisord\n# END sdops.webui\necho mine\nexit 0\n"
    )
    site.variables.update(
        sdops_webui_dir=f"{data}/webui",
        sdops_env_prefix=f"{data}/env",
        sdops_device="cuda",
        sdops_nvidia_smi="/bin/false",
    )
    return site


def left(site) -> list[str]:
    return sorted(str(p.relative_to(site.base)) for p in (site.base / "data").iterdir())


def test_without_data_everything_of_the_users_stays(installed):
    (installed.base / "user/.ifnude").mkdir(parents=True)
    (installed.base / "user/.gitconfig").write_text("[user]\n\tname = me\n")
    (installed.base / "shared").mkdir()
    result = installed.play(UNINSTALL, sdops_cache_dir=f"{installed.base}/shared")
    assert result.returncode == 0, result.stdout
    assert left(installed) == ["data/env", "data/mine.txt", "data/webui"]
    kept = " ".join(result.stdout.partition("is removed from box. These stay there:")[2].split())
    for path, what in (
        ("data/webui", "the WebUI with its extensions, settings, models and images"),
        ("data/env", "the Python environment"),
        ("shared", "the model cache that hosts share"),
        ("user/.ifnude", "the detector of the extension roop"),
        ("user/.gitconfig", "settings of git"),
        ("boot.sh", "the start script"),
    ):
        assert f"{installed.base}/{path}: {what}" in kept
    assert f"{installed.base}/artifacts/box stays" in kept and "sdops_uninstall_data=true" in kept
    assert not (installed.base / "home").exists()
    assert (installed.base / "boot.sh").read_text() == "#!/bin/sh\necho mine\nexit 0\n"


def test_with_data_what_we_have_made_goes(installed):
    result = installed.play(UNINSTALL, sdops_uninstall_data=True)
    assert result.returncode == 0, result.stdout
    assert left(installed) == ["data/mine.txt"]
    kept = " ".join(result.stdout.partition("is removed from box. These stay there:")[2].split())
    assert "data/webui" not in kept and f"{installed.base}/boot.sh: the start script" in kept


def test_images_that_were_never_fetched_are_not_removed(installed):
    images, here = installed.base / "data/webui/outputs/txt2img-images", installed.base / "artifacts/box/outputs"
    images.mkdir(parents=True)
    for name in ("1.png", "2.png", "3.psd"):
        (images / name).write_text(name)
    (here / "txt2img-images").mkdir(parents=True)
    (here / "txt2img-images/1.png").write_text("1.png")
    before = installed.files()
    result = installed.play(UNINSTALL, sdops_uninstall_data=True)
    message = " ".join(result.stdout.split())
    assert result.returncode != 0 and "changed=0" in result.stdout and installed.files() == before, result.stdout
    assert f"1 of the 2 files in {images.parent} are not in {here}" in message
    assert f"ansible-playbook -i {installed.base}/hosts.yml sdops.webui.fetch_outputs" in message
    assert "-e sdops_uninstall_images=true" in message
    result = installed.play(UNINSTALL, sdops_uninstall_data=True, sdops_uninstall_images=True)
    assert result.returncode == 0 and left(installed) == ["data/mine.txt"], result.stdout


def test_logs_of_a_program(installed):
    """Its last lines, without what would act on a terminal, and without secrets."""
    log = installed.base / "home/log/xray.log"
    log.parent.mkdir()
    log.write_text("old\n\x1b[31mred\x1b[0m hunter2hunter2 and tokentokentoken\nlast")
    (installed.base / "home/secrets/webui-credentials").write_text("me:hunter2hunter2\n")
    given = {"webui_service_log_program": "xray", "webui_service_log_lines": 2}
    result = installed.play(LOGS, "-vvv", **given, model_fetch_civitai_token="tokentokentoken")
    assert result.returncode == 0 and "changed=0" in result.stdout, result.stdout
    assert "\n[box] red ******** and ********\n[box] last\n" in result.stdout
    output = (result.stdout + result.stderr).replace("-emodel_fetch_civitai_token=tokentokentoken", "")
    assert "[box] old" not in output and "\x1b" not in output and "hunter2" not in output


def test_log_that_is_not_there(installed):
    result = installed.play(LOGS, webui_service_log_program="idle")
    message = " ".join(result.stdout.split())
    assert (
        result.returncode != 0 and f"idle has no log on box: {installed.base}/home/log/idle.log is not there" in message
    )
    assert "The host is watched where webui_service_idle_minutes is more than 0." in message


def test_log_is_followed(installed):
    """What is appended while the playbook runs is printed before its end."""
    log = installed.base / "home/log/webui.log"
    log.parent.mkdir()
    log.write_text("first\n")
    writer = subprocess.Popen(
        [
            "sh",
            "-c",
            'n=0; while [ -d "$0" ]; do n=$((n + 1)); echo "tick $n" >>"$0/webui.log"; sleep 0.5; done',
            log.parent,
        ]
    )
    try:
        given = {"webui_service_log_follow": True, "webui_service_log_seconds": 6, "webui_service_log_lines": 1}
        result = installed.play(LOGS, **given)
    finally:
        writer.terminate()
        writer.wait()
    assert result.returncode == 0, result.stdout
    assert f"[box] {log} is followed; Ctrl-C ends that." in result.stderr
    ticks = [int(number) for number in re.findall(r"^\[box\] tick (\d+)$", result.stderr, re.M)]
    assert len(ticks) > 3 and ticks == list(range(ticks[0], ticks[-1] + 1))


def test_an_environment_of_somebody_else_stays_and_all_the_rest_with_it(installed):
    other = installed.base / "miniconda3"
    (other / "conda-meta").mkdir(parents=True)
    result = installed.play(UNINSTALL, sdops_uninstall_data=True, sdops_env_prefix=str(other))
    assert result.returncode != 0
    assert f"{other} is no environment" in result.stdout and "Nothing was removed" in result.stdout
    assert other.exists() and (installed.base / "home/secrets").exists() and (installed.base / "data/webui").exists()


@pytest.mark.parametrize("playbook", ["status", "stop", "fetch_outputs"])
def test_playbooks_that_need_no_gpu(installed, playbook):
    refused = "http://127.0.0.1:9"
    routes = {service: "direct" for service in SERVICES if service != "github"}
    given = {"sdops_network": "mirrors", "sdops_network_routes": routes, "sdops_mirrors": {"github": [refused]}}
    result = installed.play(
        str(ROOT / "playbooks" / f"{playbook}.yml"), sdops_hosts="box", sdops_github=refused, **given
    )
    assert result.returncode == 0, result.stdout
    assert "changed=0" in result.stdout
    # those that fetch nothing ask nobody
    assert ("connection refused" in result.stdout) == (playbook == "status")
    if playbook == "status":
        # nothing listens
        assert re.search(r"sdops\.webui\.(start|site) as the playbook", result.stdout)


def test_a_start_needs_it(installed):
    result = installed.play(str(ROOT / "playbooks/start.yml"))
    assert result.returncode != 0 and "sdops_device is cuda" in result.stdout


HOOKS = {  # the start script of a host, before and after
    "with-shebang": ("#!/bin/bash\nexit 0\n", "#!/bin/bash\n# BEGIN sdops.webui\nX\n# END sdops.webui\nexit 0\n"),
    "without": ("exit 0\n", "# BEGIN sdops.webui\nX\n# END sdops.webui\nexit 0\n"),
    "missing": (None, "# BEGIN sdops.webui\nX\n# END sdops.webui\n"),
}


def test_boot_hook_starts_with_the_managed_block_and_keeps_its_mode(site):
    """Whatever ends the user's script ends it after supervisord was started."""
    play, inventory = site.base / "hook.yml", site.base / "three.json"
    play.write_text(
        "- hosts: three\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.include_role:\n        name: sdops.webui.base\n        tasks_from: files\n"
    )
    inventory.write_text(json.dumps({"three": {"hosts": {name: {"ansible_connection": "local"} for name in HOOKS}}}))
    own = f"{site.base}/{{{{inventory_hostname}}}}/"
    site.variables = {name: value.replace(f"{site.base}/", own) for name, value in site.variables.items()}
    for name, (before, _) in HOOKS.items():
        (site.base / name).mkdir()
        if before is not None:
            (site.base / name / "boot.sh").write_text(before)
            (site.base / name / "boot.sh").chmod(0o740)
    for changed in ("changed=1", "changed=0"):
        result = site.play(str(play), "-i", str(inventory))
        assert result.returncode == 0 and result.stdout.count(changed) == len(HOOKS), result.stdout
        for name, (before, after) in HOOKS.items():
            home, hook = site.base / name / "home", site.base / name / "boot.sh"
            started = f"{home}/toolbox/bin/supervisord -c {home}/supervisor/supervisord.conf"
            text = re.sub(rf"env( -u \w+_(proxy|PROXY)){{8}} {re.escape(started)}", "X", hook.read_text())
            assert text == after
            assert hook.stat().st_mode & 0o777 == (0o755 if before is None else 0o740)


@pytest.mark.parametrize(
    ("playbook", "variables", "said"),
    [
        ("logs", {"webui_service_log_lines": "abc"}, 'webui_service_log_lines is "abc"; it must be a whole number'),
        ("logs", {"webui_service_log_lines": 0}, "webui_service_log_lines is 0; it must be 1 or more"),
        ("logs", {"webui_service_log_program": "nginx"}, "webui or xray or supervisord or idle"),
        ("fetch_outputs", {"webui_service_outputs_patterns": "*.png"}, 'write it as ["*.png"]'),
        ("stop", {"webui_service_port": "x"}, 'webui_service_port is "x"'),
        ("uninstall", {"base_systemd": "maybe"}, 'base_systemd is "maybe"'),
        ("upgrade", {"sd_webui_verison": "dev"}, "Did you mean sd_webui_version?"),
        ("upgrade", {}, "Which version?"),
    ],
)
def test_every_playbook_checks_its_variables(site, playbook, variables, said):
    result = site.play(str(ROOT / f"playbooks/{playbook}.yml"), **variables)
    assert result.returncode == 2 and said in result.stdout + result.stderr, result.stdout + result.stderr
    assert site.files() == []


def test_a_tag_does_not_select_nothing(site):
    result = site.play(STATUS, "--tags", "webui_service")
    assert (
        result.returncode == 2
        and "--tags webui_service selects no task of this playbook" in result.stderr + result.stdout
    )


def test_status_writes_nothing(site):
    result = site.play(STATUS, sdops_network="auto", sdops_device="cpu", sdops_network_timeout=2)
    assert result.returncode == 0 and "changed=0" in result.stdout, result.stdout + result.stderr
    assert site.files() == []


@pytest.mark.parametrize(
    "damage", ["its Python is gone", "its Python does not start", "no packages", "only a directory"]
)
def test_no_playbook_is_stuck_with_a_toolbox_that_does_not_work(installed, damage):
    """With the supervisord that was started from it still running: its files may go while it runs."""
    installed.set_host_interpreter(installed.variables["ansible_python_interpreter"])
    home = installed.base / "home"
    (home / "supervisor").mkdir()
    (home / "supervisor/supervisord.conf").write_text(
        f"[unix_http_server]\nfile={home}/supervisor/supervisor.sock\n[supervisord]\nlogfile={home}/log\n"
        f"pidfile={home}/supervisor/supervisord.pid\n[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        "[program:sleeper]\ncommand=sleep 1000\n"
    )
    subprocess.run([BIN / "supervisord", "-c", home / "supervisor/supervisord.conf"], check=True)
    python = home / "toolbox/bin/python"
    python.parent.mkdir(parents=True)
    if damage == "its Python is gone":
        python.symlink_to("/opt/gone/bin/python3")
    elif damage == "its Python does not start":
        python.write_text("#!/bin/sh\nexit 127\n")
        python.chmod(0o755)
    elif damage == "no packages":
        python.symlink_to("/usr/bin/python3")
    (home / "toolbox/checked").write_text("it was whole when somebody last looked\n")
    result = installed.play(STATUS)
    assert result.returncode == 0, result.stdout
    said = " ".join(result.stdout.split())
    assert "the toolbox does not work" in said and "--tags base" in said
    lines = result.stdout.partition("msg:")[2].partition("PLAY RECAP")[0].splitlines()
    assert len([line for line in lines if line.strip()]) <= 20
    for name in ("version", "GPU", "disks", "models", "extensions", "tunnel", "credentials"):
        assert re.search(rf"'?{name}: +\S", "\n".join(lines)), name
    pid = int((home / "supervisor/supervisord.pid").read_text())
    result = installed.play(UNINSTALL)
    assert result.returncode == 0, result.stdout
    assert not home.exists() and ends_within(pid, 10)

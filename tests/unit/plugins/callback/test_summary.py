"""The callback ``summary``, called by ansible-core itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.sdops.webui.plugins.callback import summary
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, ROOT

INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts:
    alpha: {}
    beta: {}
    gamma: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
    delta: {}
"""
PLAY = """
- hosts: all
  gather_facts: false
  serial: "{{ batch | default('100%') }}"
  tasks:
    - name: Reach the host
      ansible.builtin.raw: "true"
      changed_when: true
    - name: Recover
      block:
        - name: Fail and be rescued
          ansible.builtin.fail:
            msg: of no importance
      rescue:
        - name: Go on
          ansible.builtin.debug:
            msg: rescued
    - name: Fail where nobody minds
      ansible.builtin.command: /bin/false
      ignore_errors: true
    - name: Fetch the model
      ansible.builtin.fail:
        msg: "{{ message }}"
      when: inventory_hostname == 'beta'
"""
MESSAGE = "no room\x1b[2J\nTARGET ok https://user:hunter2@example.org/x \u202e"


def run(
    tmp_path: Path, play: str, *arguments: str, inventory: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    for name, text in {"hosts.yml": INVENTORY, "play.yml": play}.items():
        (tmp_path / name).write_text(text)
    return subprocess.run(
        [str(BIN / "ansible-playbook"), *(["-i", "hosts.yml"] if inventory else []), "play.yml", *arguments],
        env={
            **ansible_environment(),
            "ANSIBLE_STDOUT_CALLBACK": "sdops.webui.summary",
            "LC_ALL": "C.UTF-8",
            **environment,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows(output: str) -> dict[str, list[str]]:
    """Host -> the other cells of the table."""
    lines = re.split(r"(?m)^HOST +", output)[1].splitlines()
    assert re.split(r"  +", lines[0]) == ["RESULT", "CHANGED", "TIME"]
    table = lines[1 : lines.index("")] if "" in lines else lines[1:]
    return {line.split()[0]: re.split(r"  +", line)[1:] for line in table}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    extra = json.dumps({"message": MESSAGE})
    return run(tmp_path_factory.mktemp("play"), PLAY, "-e", extra)


def test_each_host_has_a_row(outcome: subprocess.CompletedProcess[str]) -> None:
    found = rows(outcome.stdout)
    assert sorted(found) == ["alpha", "beta", "delta", "gamma"]
    assert {name: cells[0] for name, cells in found.items()} == {
        "alpha": "ok",
        "beta": "failed",
        "delta": "ok",
        "gamma": "unreachable",
    }
    assert found["alpha"][1] == "1"  # rescued and ignored failures are none
    assert all(re.fullmatch(r"\d+:\d\d", cells[2]) for cells in found.values())


def test_a_failure_is_one_line_that_a_terminal_only_prints(outcome: subprocess.CompletedProcess[str]) -> None:
    # what comes from a host begins no line
    assert re.search(r"(?m)^beta failed in Fetch the model:\n- no room\?\[2J\n- TARGET ok ", outcome.stdout)
    assert re.search(r"(?m)^gamma failed in Reach the host: .*port 1: Connection refused", outcome.stdout)
    assert outcome.stdout.rstrip().endswith("-v shows everything.")
    shown = outcome.stdout + outcome.stderr
    assert "\x1b" not in shown and "\u202e" not in shown and "hunter2" not in shown


def test_only_what_changes_or_fails_is_mentioned(outcome: subprocess.CompletedProcess[str]) -> None:
    # one that is rescued, and what its rescue says
    assert "  [alpha] failed: Fail and be rescued: of no importance\n" in outcome.stdout
    assert "  [alpha] rescued\n" in outcome.stdout
    assert "Fail where nobody minds" not in outcome.stdout and "TASK [" not in outcome.stdout


def test_verbose_output_is_that_of_ansible(tmp_path: Path) -> None:
    output = run(tmp_path, PLAY, "-v", "-e", "message=full", "--limit", "alpha,beta").stdout
    assert "TASK [Fail where nobody minds]" in output and "PLAY RECAP" in output and "...ignoring" in output
    assert rows(output)["beta"][0] == "failed"


def test_hosts_that_no_task_reached_are_named(tmp_path: Path) -> None:
    found = rows(run(tmp_path, PLAY, "-e", "batch=1", "-e", "message=full", "--limit", "beta,delta,alpha").stdout)
    assert {name: cells[0] for name, cells in found.items()} == {"alpha": "ok", "beta": "failed", "delta": "not run"}


ROLES = {
    "base": ("- name: Do it\n  ansible.builtin.command: /bin/true\n", ""),
    "model_fetch": (
        "- name: Do it\n  ansible.builtin.command: /bin/true\n  changed_when: false\n",
        "__model_fetch_step: '{{ 2 + 3 }}, ~4 GiB'\n",
    ),
    # short tasks, which are silent together
    "sd_webui": (
        "- name: Wait\n  ansible.builtin.command: sleep 4\n  changed_when: false\n"
        "- name: Wait until the WebUI is ready\n  ansible.builtin.command: sleep 7\n  changed_when: false\n",
        "__sd_webui_step: '{{ nothing }}'\n",
    ),
    "webui_service": (
        "- name: Report the result\n  ansible.builtin.debug: {msg: [the address, the tunnel]}\n- ansible.builtin.debug: {msg: later}\n",
        "",
    ),
}
STEPS = """
- name: Bring it up
  hosts: alpha
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.import_role: {name: base}
          tags: [base]
        - ansible.builtin.import_role: {name: model_fetch, tasks_from: early}
        - ansible.builtin.import_role: {name: sd_webui}
        - ansible.builtin.import_role: {name: model_fetch}
        - ansible.builtin.import_role: {name: webui_service}
  post_tasks:
    - ansible.builtin.import_role: {name: sd_webui, tasks_from: early}
"""


def write_roles(path: Path) -> None:
    for name, (tasks, variables) in ROLES.items():
        for directory, files in {
            "tasks": {"main": tasks, "early": "- name: Do it\n  ansible.builtin.command: /bin/true\n"},
            "vars": {"main": variables},
        }.items():
            (path / "roles" / name / directory).mkdir(parents=True)
            for file, text in files.items():
                (path / "roles" / name / directory / f"{file}.yml").write_text(text)


def test_steps_have_numbers_sizes_and_signs_of_life(tmp_path: Path) -> None:
    write_roles(tmp_path)
    result = run(tmp_path, STEPS)
    assert result.returncode == 0, result.stdout + result.stderr
    output = re.sub(r"\(\d:\d\d", "(TIME", result.stdout)
    lines = re.sub(r"(?m)^(  \.\.\. .*\n)\1+", r"\1", output).splitlines()  # a busy machine is silent for longer
    assert lines[: lines.index("")] == [
        "Bring it up",
        "1/4 base: directories, toolbox, supervisord",
        "  changed: Do it (TIME)",
        "  changed: Do it (TIME)",  # of the models, before their turn
        "2/4 sd_webui: the WebUI and its packages",  # what it cannot work out it leaves to the role
        "  ... Wait until the WebUI is ready (TIME so far)",
        "3/4 model_fetch: models (5, ~4 GiB)",
        "4/4 webui_service: configuration, start, first image",
        "  later",
        "  changed: Do it (TIME)",
    ]
    assert lines[-3:] == ["", "the address", "the tunnel"]  # the result comes last
    assert "1/1 base: " in run(tmp_path, STEPS, "--tags", "base").stdout


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["-e", "sdops_language=zh"], {}), ([], {"LANGUAGE": "zh_CN:en"})],
    ids=["variable", "locale"],
)
def test_chinese(tmp_path: Path, arguments: list[str], environment: dict[str, str]) -> None:
    write_roles(tmp_path)
    play = STEPS.replace("Bring it up", "Start the WebUI")
    (tmp_path / "roles/base/tasks/main.yml").write_text(ROLES["base"][0].replace("Do it", "Run supervisord"))
    output = run(tmp_path, play, "--tags", "base", "--skip-tags", "x", *arguments, **environment).stdout
    assert output.startswith("启动 WebUI\n1/1 base: 目录、工具箱、supervisord\n  已改变：运行 supervisord（0:0")
    assert re.search(r"(?m)^主机   结果  改变  用时\nalpha  成功  1     0:0\d$", output)


def test_each_of_several_hosts_has_a_line_for_a_role(tmp_path: Path) -> None:
    write_roles(tmp_path)
    output = run(tmp_path, STEPS.replace("hosts: alpha", "hosts: alpha,delta")).stdout
    for host in ("alpha", "delta"):
        assert re.search(rf"(?m)^  \[{host}\] base finished in 0:0\d, 1 changed$", output)
        assert re.search(rf"(?m)^  \[{host}\] sd_webui finished in 0:1\d, nothing changed$", output)
    assert "changed: Do it" not in output and output.count("2/4 sd_webui") == 1


def test_every_mistake_has_a_line(tmp_path: Path) -> None:
    play = '- hosts: alpha\n  gather_facts: false\n  tasks:\n    - name: Check\n      ansible.builtin.fail: {msg: "one\\ntwo"}\n'
    assert "alpha failed in Check:\n- one\n- two\n" in run(tmp_path, play).stdout


def test_a_deferred_cause_is_reported_once() -> None:
    variables = yaml.safe_load((ROOT / "roles" / "sdops" / "vars" / "main.yml").read_text())
    assert variables["__sdops_deferred_message"] == summary.DEFERRED_MESSAGE


def test_what_others_print_ends_a_silence() -> None:
    shown = []
    display = SimpleNamespace(display=lambda text, **options: shown.append(text))
    watch = summary.DisplayWatch(display)
    watch.last_line = 0.0
    display.display("for the log", log_only=True)
    assert watch.last_line == 0
    display.display("done, 24.0 MiB", stderr=True)
    assert watch.last_line > 0 and shown == ["for the log", "done, 24.0 MiB"]


def test_mistakes_that_hosts_have_in_common_are_told_once(tmp_path: Path) -> None:
    play = """
- hosts: alpha,beta,delta
  gather_facts: false
  tasks:
    - sdops.webui.preflight:
        roles: [sdops]
"""
    output = run(tmp_path, play, "-e", "sdops_devise=cpu").stdout
    assert output.count("Did you mean sdops_device?") == 1, output
    assert re.search(r"(?m)^alpha, beta, delta failed in .*sdops_devise ", output), output


@pytest.mark.parametrize(
    ("inventory", "said"), [("boxes:\n  hosts: {one: {}}\n", "groups are boxes"), ("", "Is -i the")]
)
def test_a_run_without_hosts_is_not_silent(tmp_path: Path, inventory: str, said: str) -> None:
    (tmp_path / "other.yml").write_text(inventory or "all: {}\n")
    play = "- hosts: webui\n  gather_facts: false\n  tasks: []\n"
    output = run(tmp_path, play, "-i", "other.yml", inventory=False).stdout
    assert "no host of the inventory is in webui" in output and said in output, output


def test_an_older_core_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of 2.18 have other attributes, so that the callback could tell nothing of a failure."""
    shown: list[str] = []
    monkeypatch.setattr(summary, "core_version", "2.18.19")
    callback = summary.CallbackModule()
    monkeypatch.setattr(callback._display, "display", lambda text, **options: shown.append(text))
    with pytest.raises(SystemExit):
        callback.v2_playbook_on_start(SimpleNamespace(_file_name="site.yml"))
    [line] = shown
    assert "This is ansible-core 2.18.19" in line and "pip install" in line

"""The callback ``summary``, called by ansible-core itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN

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


def run(tmp_path: Path, play: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name, text in {"hosts.yml": INVENTORY, "play.yml": play}.items():
        (tmp_path / name).write_text(text)
    return subprocess.run(
        [str(BIN / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments],
        env={**ansible_environment(), "ANSIBLE_CALLBACKS_ENABLED": "sdops.webui.summary", "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows(output: str) -> dict[str, list[str]]:
    """Host -> the other cells of the table."""
    lines = output.partition("SUMMARY")[2].splitlines()[1:]
    assert re.split(r"  +", lines[0]) == ["HOST", "RESULT", "CHANGED", "TIME", "WHAT FAILED"]
    return {line.split()[0]: re.split(r"  +", line)[1:] for line in lines[1:] if line}


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
    table = outcome.stdout.partition("SUMMARY")[2]
    cause = rows(outcome.stdout)["beta"][3]
    assert cause.startswith("Fetch the model: no room?[2J TARGET ok")
    assert "\x1b" not in table and "\u202e" not in table and "hunter2" not in table


def test_hosts_that_no_task_reached_are_named(tmp_path: Path) -> None:
    found = rows(run(tmp_path, PLAY, "-e", "batch=1", "-e", "message=full", "--limit", "beta,delta,alpha").stdout)
    assert {name: cells[0] for name, cells in found.items()} == {"alpha": "ok", "beta": "failed", "delta": "not run"}


def test_a_finished_role_has_a_line(tmp_path: Path) -> None:
    for role, task in {"first": "/bin/true", "second": "/bin/false"}.items():
        path = tmp_path / "roles" / role / "tasks"
        path.mkdir(parents=True)
        (path / "main.yml").write_text(f"- ansible.builtin.command: {task}\n")
    result = run(tmp_path, "- hosts: alpha\n  gather_facts: false\n  roles: [first, second]\n")
    assert re.search(r"(?m)^alpha: first finished in 0:0\d, 1 changed$", result.stdout)
    assert rows(result.stdout)["alpha"][:2] == ["failed", "1"]

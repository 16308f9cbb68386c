"""A host with a toolbox answers the preflight checks with it, once. Oracles: setup on the host's own Python, and the files that it is asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from helpers.module_process import run_module
from helpers.paths import ROOT

LOCK = (ROOT / "roles/base/files/toolbox-requirements.txt").read_text()
BASE = getattr(sys, "_base_executable", sys.executable)
# a package without dependencies
SMALL = "".join(block for block in re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK) if block.startswith("packaging=="))
# the host's own Python, which counts its starts
COUNTING = '#!/bin/sh\necho start >> {count}\nexec {python} "$@"\n'
# facts that change by themselves, or say which Python has gathered them and how it was started
VARYING = re.compile("date_time|env|python|discovered_|.*ansible_facts|gather_subset|module_setup|sdops_")
PLAY = """
- hosts: webui
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: sdops.webui.sdops, tasks_from: preflight, rolespec_validate: false}
    - ansible.builtin.copy: {dest: "{{ sdops_home }}/facts.json", content: "{{ ansible_facts | to_json }}", mode: "0600"}
      vars: {ansible_python_interpreter: "{{ sdops_toolbox }}/bin/python"}
"""


@pytest.fixture
def host(site):
    """A host with a small toolbox that was found whole."""
    own = site.base / "own-python"
    own.write_text(COUNTING.format(count=site.base / "starts", python=BASE))
    own.chmod(0o755)
    site.set_host_interpreter(str(own))
    toolbox = str(site.base / "home/toolbox")
    os.makedirs(site.base / "home")
    made = run_module("toolbox", path=toolbox, requirements=SMALL, python=BASE)
    assert not made["failed"], made
    assert run_module("host_state_info", toolbox=toolbox)["state"]["toolbox"]["usable"]
    (site.base / "play.yml").write_text(PLAY)

    def ask(**variables: object) -> tuple[dict, int]:
        """The facts, and how often the host's own Python was started."""
        (site.base / "starts").write_text("")
        result = site.play(str(site.base / "play.yml"), **variables)
        assert result.returncode == 0, result.stdout + result.stderr
        facts = json.loads((site.base / "home/facts.json").read_text())
        return facts, len((site.base / "starts").read_text().split())

    site.ask = ask
    return site


def test_the_answer_is_that_of_the_hosts_own_python(host):
    by_toolbox, starts = host.ask()
    assert starts == 0
    os.unlink(host.base / "home/toolbox/checked")
    by_own_python, starts = host.ask()
    assert starts == 1
    # what is made of facts cannot be asked without them
    by_setup, starts = host.ask(sdops_nvidia_smi="{{ ansible_facts['user_dir'] }}/nvidia-smi")
    assert starts == 2
    lasting = [
        # Ansible takes the interfaces from a set
        {
            name: sorted(value) if isinstance(value, list) else value
            for name, value in facts.items()
            if not VARYING.match(name)
        }
        for facts in (by_toolbox, by_own_python, by_setup)
    ]
    assert lasting[0] == lasting[1] == lasting[2] and "user_dir" in lasting[0]
    for part in ("toolbox", "supervisord_pid"):
        assert by_toolbox["sdops_host"][part] == by_own_python["sdops_host"][part] == by_setup["sdops_host"][part]


def test_the_interpreter_of_later_tasks_is_the_one_beneath_the_toolbox(host):
    (host.base / "host_vars/box.yml").unlink()
    facts, _starts = host.ask()
    found = facts["sdops_host"]["python"]
    assert facts["discovered_interpreter_python"] == found and str(host.base) not in found
    answer = subprocess.run([found, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert answer.stdout and str(host.base) not in answer.stdout


@pytest.mark.parametrize("guess", ["/opt/guess", None], ids=["a wrong guess", "no guess"])
def test_what_is_made_of_facts_is_asked_with_the_facts(host, guess):
    """Before they are there, a template may yield something else, or nothing at all."""
    directory = "ansible_facts['user_dir']" + (f" | default('{guess}')" if guess else "")
    facts, starts = host.ask(sdops_nvidia_smi="{{ " + directory + " }}/nvidia-smi")
    assert facts["sdops_gpu"]["reason"].startswith(f"{facts['user_dir']}/nvidia-smi"), facts["sdops_gpu"]
    # one that is made without facts, and wrong, is asked again by the host's own Python
    assert starts > 0

"""What Ansible has packed for one run is there for the next. Oracle: Ansible's own messages about it, with ANSIBLE_DEBUG."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, ROOT

PLAY = """
- hosts: localhost
  gather_facts: true
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  gather_subset: ["!all", min, network]
  tasks:
    - sdops.webui.preflight: {roles: []}
    - sdops.webui.gpu_facts: {nvidia_smi: /nonexistent}
      register: facts
    - ansible.builtin.debug: {msg: "{{ facts.msg | default('as it was') }}"}
    - ansible.builtin.command: "true"
"""
OURS = "ansible_collections.sdops.webui.plugins.modules.gpu_facts"


class Controller:
    """A copy of the collection, which may be changed, and a home of Ansible's."""

    def __init__(self, base: Path) -> None:
        self.base, self.home = base, base / "ansible"
        self.collection = base / "collections/ansible_collections/sdops/webui"
        for name in ("plugins", "roles", "meta"):
            shutil.copytree(ROOT / name, self.collection / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "galaxy.yml", self.collection)
        (base / "play.yml").write_text(PLAY)

    def packed(self) -> set[str]:
        """Run the play; the modules that Ansible packed for it."""
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", "play.yml"],
            env={**ansible_environment(self.base / "collections"), "ANSIBLE_DEBUG": "1", "ANSIBLE_HOME": str(self.home)},
            cwd=self.base, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = done.stdout
        locks = re.findall(r"ANSIBALLZ: Lock acquired: \S+/ansiballz_cache/([\w.]+)-\w+-\w+\.lock", done.stdout)
        assert len(locks) == done.stdout.count("ANSIBALLZ: Creating module")
        return set(locks)

    def kept(self) -> list[str]:
        return sorted(path.name.partition("-")[0] for path in self.home.glob("sdops-packed-modules/*/*"))


@pytest.fixture
def controller(short_path):
    return Controller(short_path)


@pytest.fixture
def shared_umask():
    """That of users with a group of their own."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_modules_are_packed_once_until_something_in_them_changes(controller, shared_umask):
    assert OURS in controller.packed()
    assert controller.kept() == [OURS]
    # modules of others are packed anew: one of the same name may lie beside a playbook
    assert controller.packed() == {"ansible.modules.command", "ansible.modules.setup"}
    assert "as it was" in controller.output
    utilities = controller.collection / "plugins/module_utils/gpu/smi.py"
    for change in (1, 2):
        utilities.write_text(utilities.read_text() + f"# change {change}\n")
        assert OURS in controller.packed()
        assert OURS not in controller.packed()
    module = controller.collection / "plugins/modules/gpu_facts.py"
    module.write_text(module.read_text().replace("module.exit_json(", "module.exit_json(msg='another one', "))
    assert OURS in controller.packed() and "another one" in controller.output
    assert len(list(controller.home.glob("sdops-packed-modules/*"))) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root, to give files away")
@pytest.mark.parametrize("whose", ["another user's", "everybody's"])
def test_files_that_somebody_else_can_write_are_not_used(controller, whose):
    """They are run on the hosts, and read with pickle."""
    controller.packed()
    (directory,) = controller.home.glob("sdops-packed-modules/*")
    (file,) = directory.iterdir()
    file.write_bytes(b"hostile")
    if whose == "everybody's":
        directory.chmod(0o777)
    else:
        os.chown(directory.parent, 65534, 65534)
    assert OURS in controller.packed()
    assert file.read_bytes() == b"hostile"

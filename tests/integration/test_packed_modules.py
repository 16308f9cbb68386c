"""What Ansible has packed for one run is there for the next. Oracle: Ansible's own messages about it, with ANSIBLE_DEBUG."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from ansible.executor.module_common import _CachedModule
from ansible.module_utils import basic
from ansible.modules import ping
from helpers.ansible_site import ansible_environment
from helpers.lab_command import eventually
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
    - ping:
"""
BUILTIN = ["ansible.modules.ping", "ansible.modules.setup"]
OURS = "ansible_collections.sdops.webui.plugins.modules.gpu_facts"
# without those that are only documentation: their action does all of it
MODULES = BUILTIN + sorted(
    f"ansible_collections.sdops.webui.plugins.modules.{path.stem}"
    for path in (ROOT / "plugins/modules").glob("*.py")
    if not (ROOT / "plugins/action" / path.name).exists() or "AnsibleModule(" in path.read_text()
)


class Controller:
    """A copy of the collection, which may be changed, and a home of Ansible's."""

    def __init__(self, base: Path) -> None:
        self.base, self.home = base, base / "ansible"
        self.collection = base / "collections/ansible_collections/sdops/webui"
        for name in ("plugins", "roles", "meta"):
            shutil.copytree(ROOT / name, self.collection / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "galaxy.yml", self.collection)
        (base / "play.yml").write_text(PLAY)

    def packed(self, *arguments: str) -> set[str]:
        """Run the play, and wait for what it packs in the background; the modules that Ansible packed for the tasks."""
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", "play.yml", *arguments],
            env={**ansible_environment(self.base / "collections"), "ANSIBLE_DEBUG": "1", "ANSIBLE_HOME": str(self.home), "TMPDIR": str(self.base)},
            cwd=self.base, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = done.stdout
        locks = re.findall(r"ANSIBALLZ: Lock acquired: \S+/ansiballz_cache/([\w.]+)-\w+-\w+\.lock", done.stdout)
        assert len(locks) == done.stdout.count("ANSIBALLZ: Creating module")
        assert eventually(lambda: not list(self.base.glob("sdops-packing-*")), 60)
        return set(locks)

    def kept(self) -> list[list[str]]:
        """The modules of each state of the collection."""
        states = self.home.glob("sdops-cache/*")
        return [sorted(path.name.partition("-")[0] for path in state.iterdir() if path.is_file()) for state in states]

    def unpacked(self) -> dict[str, dict[str, bytes]]:
        """What is in the kept file of each module."""
        contents = {}
        for path in self.home.glob("sdops-cache/*/*-*"):
            with zipfile.ZipFile(io.BytesIO(base64.b64decode(_CachedModule.load(path).zip_data))) as bundle:
                contents[path.name] = {name: bundle.read(name) for name in bundle.namelist()}
        return contents


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
    controller.packed()
    assert controller.kept() == [MODULES]
    # the play's own gathering of facts comes before our first task
    assert controller.packed() == {"ansible.modules.setup"}
    assert "as it was" in controller.output
    module = controller.collection / "plugins/modules/gpu_facts.py"
    module.write_text(module.read_text().replace("module.exit_json(", "module.exit_json(msg='another one', "))
    controller.packed()
    assert "another one" in controller.output
    utilities = controller.collection / "plugins/module_utils/gpu/smi.py"
    for change in range(3):
        utilities.write_text(utilities.read_text() + f"# change {change}\n")
        controller.packed()
        assert OURS not in controller.packed() and "another one" in controller.output
    assert controller.kept() == [MODULES] * 4


def test_what_is_packed_in_the_background_is_what_ansible_packs_for_a_task(controller):
    controller.packed()
    in_the_background = controller.unpacked()
    preflight = controller.collection / "plugins/action/preflight.py"
    preflight.write_text(preflight.read_text().replace("pack_in_background(lambda", "print(lambda"))
    shutil.rmtree(controller.home)
    assert OURS in controller.packed()
    for_a_task = {name: content for name, content in controller.unpacked().items() if name.startswith(OURS)}
    assert for_a_task.items() <= in_the_background.items() and len(for_a_task) == 1


@pytest.mark.parametrize("where", ["library", "ansible/modules", "module_utils"])
def test_what_somebody_has_put_before_ansibles_own_files_is_used_and_nowhere_else(controller, monkeypatch, where):
    """A module or a utility with the name of one of Ansible's, beside the playbook or in a directory that the configuration names."""
    controller.packed()
    mine = controller.base / where / ("basic.py" if where == "module_utils" else "ping.py")
    mine.parent.mkdir(parents=True)
    source = Path(basic.__file__ if where == "module_utils" else ping.__file__).read_text()
    for ends in ("def exit_json(self, **kwargs) -> t.NoReturn:", "module.exit_json("):
        source = source.replace(ends, ends + ("\n        kwargs['mine'] = 1" if ends.endswith(":") else "mine=1, "))
    mine.write_text(source)
    if where == "ansible/modules":
        monkeypatch.setenv("ANSIBLE_LIBRARY", str(mine.parent))
    for _ in range(2):
        controller.packed("-v")
        assert "mine: 1" in controller.output
    mine.unlink()
    monkeypatch.delenv("ANSIBLE_LIBRARY", raising=False)
    controller.packed("-v")
    assert "ping: pong" in controller.output and "mine" not in controller.output


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root, to give files away")
@pytest.mark.parametrize("whose", ["another user's", "everybody's"])
def test_files_that_somebody_else_can_write_are_not_used(controller, whose):
    """They are run on the hosts, and read with pickle."""
    controller.packed()
    (directory,) = controller.home.glob("sdops-cache/*")
    (file,) = directory.glob(f"{OURS}-*")
    file.write_bytes(b"hostile")
    if whose == "everybody's":
        directory.chmod(0o777)
    else:
        os.chown(directory.parent, 65534, 65534)
    assert OURS in controller.packed()
    assert "as it was" in controller.output and file.read_bytes() == b"hostile"

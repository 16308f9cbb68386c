"""README's section about a real box, done by somebody who has only ansible-core: its files and lines as they are printed.

The tarball is installed into a new virtual environment; the box is the lab's. What a reader has to replace (addresses, keys) and what the
lab has instead of the internet lies in host_vars beside README's inventory, which wins over it. SDOPS_README_CORE and SDOPS_README_PYTHON
choose the ansible-core and the Python of that environment (tools/matrix sets them); by default they are those of the tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.release import __version__ as own_core
from helpers.lab_command import LabCommand
from helpers.paths import BIN, ROOT
from helpers.readme import CodeBlock, code_blocks, run_in_terminal, section_prose

from lab.lab_state import pip_config_value
from lab.target_python import can_hide_interpreters, find_interpreter

CORE = os.environ.get("SDOPS_README_CORE") or own_core
PYTHON = os.environ.get("SDOPS_README_PYTHON") or os.path.realpath(sys.executable)
PAGE = (ROOT / "README.md").read_text()
PASSWORD = "correct horse battery staple"
PROMPTS = {r"[Vv]ault password[^\n]*: *": PASSWORD}
#: variables of README's inventory that a reader replaces by values of his own; the others stay as they are printed
REPLACED = {"sdops_data_dir", "xray_proxy_server", "xray_proxy_server_name", "model_fetch_models", "extensions_list"}
#: what a reader has for the dots in README's vault, besides what the lab's gateway has
VAULT = {"model_fetch_civitai_token": "the-readers-own", "ansible_password": "the-readers-own"}
#: the lab's small file for a model of the catalog
MODELS = {
    "sd-1.5-pruned-emaonly": {
        "source": "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main",
        "kind": "checkpoint",
    }
}

pytestmark = pytest.mark.lab


# --- what README prints -----------------------------------------------------------------------------------------------


class Page:
    """The parts of the section that has the line which installs the collection."""

    def __init__(self, page: str) -> None:
        blocks = code_blocks(page)
        self.console = self._only(blocks, lambda block: "ansible-galaxy collection install" in block.text)
        section = [block for block in blocks if block.heading == self.console.heading]
        self.inventory = self._only(section, lambda block: bool(re.search(r"(?m)^ *hosts:", block.text)))
        self.vault = self._only(section, lambda block: "ansible-vault create" in block.before)
        self.prose = section_prose(page, self.console.heading)

    @staticmethod
    def _only(blocks: list[CodeBlock], predicate: Any) -> CodeBlock:
        [found] = [block for block in blocks if predicate(block)]
        return found

    @property
    def install(self) -> str:
        [line] = [line for line in self.console.commands if "ansible-galaxy" in line]
        return line

    @property
    def playbooks(self) -> list[str]:
        """The lines that run a playbook, in their order."""
        return [line for line in self.console.commands if line.startswith("ansible-playbook ")]

    @property
    def exports(self) -> dict[str, str]:
        """What the reader's shell has from the lines ``export NAME=VALUE`` on."""
        lines = [line.split()[1] for line in self.console.commands if line.startswith("export ")]
        return dict(line.split("=", 1) for line in lines)

    @property
    def names_in_prose(self) -> list[str]:
        """Playbooks that the prose names, also as ``.stop`` after ``sdops.webui.start``."""
        return re.findall(r"`(?:sdops\.webui)?\.([a-z_]+)`", self.prose)


def playbook_of(line: str) -> str:
    return re.search(r"sdops\.webui\.([a-z_]+)", line)[1]


# --- who has only ansible-core ----------------------------------------------------------------------------------------


class Reader:
    """A directory with README's files, and a home and an environment of its own."""

    def __init__(self, base: Path) -> None:
        self.page = Page(PAGE)
        self.work = base / "work"
        self.home = base / "home"
        for directory in (self.work, self.home):
            directory.mkdir()
        index = os.environ.get("UV_DEFAULT_INDEX") or pip_config_value("index-url")
        for command in (
            ["venv", "--python", PYTHON, base / "venv"],
            ["pip", "install", "--system-certs", "--python", base / "venv/bin/python", f"ansible-core=={CORE}"],
        ):
            subprocess.run(
                [BIN / "uv", *command, "--quiet"],
                env={**os.environ, "UV_DEFAULT_INDEX": index},
                check=True,
                timeout=600,
            )
        path = [each for each in os.environ["PATH"].split(":") if Path(each) != BIN]
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "SDOPS_", "PYTHON", "MAKE", "MFLAGS", "VIRTUAL_ENV", "UV_"))
        }
        self.environment.update(HOME=str(self.home), PATH=":".join([f"{base}/venv/bin", *path]), LC_ALL="C.UTF-8")
        self.environment.update(self.page.exports)

    def run(self, line: str, **more: str) -> str:
        """What a line shows that must end well."""
        begun = time.monotonic(), sum(os.times()[2:4])
        status, shown = run_in_terminal(line, self.work, {**self.environment, **more}, PROMPTS)
        print(
            f"{time.monotonic() - begun[0]:.0f} s ({sum(os.times()[2:4]) - begun[1]:.0f} s of CPU): {line}", flush=True
        )
        assert status == 0, f"$ {line}\n{shown[-6000:]}"
        for secret in self.secrets:
            assert secret not in shown, f"$ {line} shows a secret"
        return shown

    def play(self, name: str, arguments: str = "") -> str:
        """Run a playbook by README's last line, that of the status, with another name."""
        line = self.page.playbooks[-1].partition("#")[0].strip()
        return self.run(f"{line.replace(playbook_of(line), name)} {arguments}".strip())

    # --- README's files ---

    secrets: tuple[str, ...] = (PASSWORD,)

    def write_files(self, lab: LabCommand) -> None:
        page, variables = self.page, dict(lab.variables)
        [name] = {re.search(r"-i (\S+)", line)[1] for line in page.playbooks}
        (self.work / name).write_text(page.inventory.text)
        self.hosts = list(yaml.safe_load(page.inventory.text)["webui"]["hosts"])
        printed = yaml.safe_load(page.inventory.text)["webui"]["vars"]
        placeholders = yaml.safe_load(page.vault.text)
        vault = {key: variables.get(key, VAULT.get(key)) for key in placeholders}
        assert None not in vault.values(), f"nobody knows what a reader writes for the dots: {vault}"
        self.secrets = (PASSWORD, *map(str, vault.values()))
        self._create_vault(vault)

        sources = yaml.safe_load((ROOT / "inventories/container/group_vars/webui.yml").read_text())
        extensions = {entry["name"]: entry for entry in sources["extensions_list"]}
        overlay = {
            **sources,
            **variables,
            **lab.state["hosts"]["target1"],
            "model_fetch_models": [MODELS[e] if isinstance(e, str) else e for e in printed["model_fetch_models"]],
            "extensions_list": [extensions[name] for name in printed["extensions_list"]],
        }
        for name in {*printed, *vault, "sdops_artifacts_dir"} - REPLACED:
            overlay.pop(name, None)
        for host in self.hosts:
            place = self.work / "host_vars" / f"{host}.yml"
            place.parent.mkdir(exist_ok=True)
            place.write_text(json.dumps(overlay, indent=1))

    def _create_vault(self, vault: dict[str, Any]) -> None:
        """By README's line; the editor is a program that writes the file."""
        content = self.home / "typed.yml"
        content.write_text(yaml.safe_dump(vault))
        editor = self.home / "editor"
        editor.write_text(f'#!/bin/sh\ncat {content} > "$1"\n')
        editor.chmod(0o700)
        self.run(re.search(r"`(ansible-vault create \S+)`", self.page.vault.before)[1], EDITOR=str(editor))
        content.unlink()
        [name] = {re.search(r"-e @(\S+)", line)[1] for line in self.page.playbooks if "-e @" in line}
        assert (self.work / name).read_text().startswith("$ANSIBLE_VAULT;")

    def build(self) -> None:
        """`make build`, as a comment beside README's line says; the tarball under README's name."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(
            ["make", "--no-print-directory", "build"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        tarball = Path(done.stdout.split()[-1])
        assert tarball.name in self.page.install.split(), f"README does not install {tarball.name}"
        shutil.copy(tarball, self.work)


@pytest.fixture(params=["", "3.8"], ids=["python of this machine", "python 3.8"])
def lab(request: pytest.FixtureRequest) -> Iterator[LabCommand]:
    version = request.param
    if version and not (find_interpreter(version) and can_hide_interpreters()):
        reason = f"a host with Python {version} is NOT tested: it needs python{version} (PATH or pyenv), root and mount namespaces"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    command = LabCommand("readme", "processes")
    command("down")
    try:
        command("up", "--mode", "processes", *(["--target-python", version] if version else []))
        yield command
    finally:
        command("down")


@pytest.fixture
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="readme-") as base:
        yield Reader(Path(base))


def list_files(target: Path) -> list[str]:
    """What is on the target, without the directory of Ansible's own temporary files."""
    return sorted(str(path) for path in target.rglob("*") if path.relative_to(target).parts[0] != "tmp")


def test_readme_brings_the_host_up(reader: Reader, lab: LabCommand) -> None:
    reader.build()
    reader.run(reader.page.install)
    reader.write_files(lab)
    target = lab.dir / "target1"
    before = list_files(target)
    lines = {(playbook_of(line), "--check" in line): line for line in reader.page.playbooks}
    assert list(lines) == [("site", True), ("site", False), ("status", False), ("logs", False)], (
        "README's lines are others: look at the test"
    )

    # without a Python that fits nothing can be planned but to make one
    assert re.search(r"(?m)^toolbox +make |has no Python that ansible-core", reader.run(lines["site", True]))
    assert list_files(target) == before, "the plan has changed the host"

    shown = reader.run(lines["site", False])
    assert re.search(r"(?m)^WebUI: +http://\S+ on ", shown), shown[-3000:]
    # for people: Ansible's own output of the same runs has hundreds of lines
    assert len(shown.splitlines()) <= 150, shown
    artifacts = reader.work / "artifacts" / reader.hosts[0]
    for path, what in ((artifacts / "smoke_test.png", b"\x89PNG"), (artifacts / "webui-credentials", b"")):
        assert path.read_bytes().startswith(what) and str(path) in shown, shown[-3000:]
    status = reader.run(lines["status", False])
    assert re.search(r"WebUI: +http://\S+ answers", status) and len(status.splitlines()) <= 20, status
    assert "Launching Web UI with arguments" in reader.run(lines["logs", False])
    again = reader.run(lines["site", False])
    assert re.search(rf"(?m)^{reader.hosts[0]} +ok +0 ", again) and len(again.splitlines()) <= 60, again
    assert f"Nothing has changed on {reader.hosts[0]} since the last run" in again
    # and a run that does everything again changes nothing either
    record = Path(lab.variables["sdops_home"]) / "webui" / "convergence.json"
    kept = set(json.loads(record.read_text())["files"])
    record.unlink()
    repeated = reader.run(lines["site", False])
    assert re.search(rf"(?m)^{reader.hosts[0]} +ok +0 ", repeated) and len(repeated.splitlines()) <= 60, repeated
    assert "Nothing has changed" not in repeated
    placed = (
        "launch.json",
        "supervisord.conf",
        "webui.conf",
        "xray/config.json",
        "history",
        ".git/HEAD",
        "extensions.json",
        "RECORD",
    )
    assert not [name for name in placed if not any(path.endswith(name) for path in kept)], kept

    for name in sorted({*reader.page.names_in_prose}):
        reader.play(name, "--syntax-check")
    reader.play("stop")
    assert "does not answer" in reader.play("status")
    reader.play("start")
    assert re.search(r"WebUI: +http://\S+ answers", reader.play("status"))
    reader.play("uninstall")
    assert not Path(lab.variables["sdops_home"]).exists()
    assert list(Path(lab.variables["sdops_data_dir"]).glob("*/models/Stable-diffusion/*.safetensors"))

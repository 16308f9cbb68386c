"""Each index gives only what it is there for. The tasks are the role's own, the resolver is the real uv, the indexes are loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from helpers.module_process import run_module
from helpers.paths import ROOT
from helpers.wheels import FileServer, simple_index, venv, wheel

TASKS = ROOT / "roles" / "sd_webui" / "tasks" / "requirements.yml"
NAMES = ("torch", "requests", "typing-extensions")


def torch_tasks(variables: dict) -> list[tuple[dict, dict]]:
    """(arguments, environment) of the tasks that install torch and what it depends on, as Ansible templates them."""
    templar = Templar(loader=DataLoader(), variables=variables)

    def value(text):
        if isinstance(text, list):
            return [value(item) for item in text]
        return templar.template(trust_as_template(text)) if isinstance(text, str) and "{{" in text else text

    found = [
        t
        for t in yaml.safe_load(TASKS.read_text())
        if t["name"].startswith(("Install torch", "Install the requirements of the WebUI"))
    ]
    assert len(found) == 2
    return [
        (
            {key: value(text) for key, text in task["sdops.webui.python_packages"].items()},
            value(task.get("environment", {})),
        )
        for task in found
    ]


@pytest.mark.parametrize("label", ["", "+cu121"])
@pytest.mark.parametrize("extra", [False, True])
def test_a_higher_version_in_the_wrong_index_is_never_taken(tmp_path: Path, extra: bool, label: str) -> None:
    made = tmp_path / "made"
    good = wheel(made, "torch", "2.1.2" + label, "requests", "typing-extensions")
    simple_index(tmp_path / "www" / "pytorch", good, *(wheel(made, n, "99.0") for n in NAMES[1:]))
    simple_index(
        tmp_path / "www" / "main", wheel(made, "torch", "99.0"), *(wheel(made, n, "1.0") for n in NAMES[1:]),
        wheel(tmp_path / "other", "torch", "2.1.2"),
    )  # fmt: skip
    # an index of the user's own, which uv would ask first, has another torch of the very version
    simple_index(tmp_path / "www" / "extra", wheel(tmp_path / "third", "torch", "2.1.2", "evil"))
    server, python = FileServer(tmp_path / "www"), venv(tmp_path / "env")
    (tmp_path / "constraints.txt").write_text("")
    (tmp_path / "requirements.txt").write_text("requests\n")
    variables = {
        "sdops_env_python": str(python),
        "__sd_webui_torch": ["torch==2.1.2" + label],
        "__sd_webui_torch_index": server.url + "/pytorch/",
        "__sd_webui_protect": ["torch", "torchvision"],
        "__sd_webui_clip_packages": [],
        "sdops_state_dir": str(tmp_path),
        "sd_webui_dir": str(tmp_path),
        "sd_webui_requirements_file": "requirements.txt",
        "sdops_source_environment": {},
    }
    base = {"UV_DEFAULT_INDEX": server.url + "/main/", "UV_CACHE_DIR": str(tmp_path / "cache")}
    base["UV_INDEX"] = server.url + "/extra/" if extra else ""
    for repeated in (False, True):
        for arguments, environment in torch_tasks(variables):
            done = run_module("python_packages", env={**base, **environment}, **arguments)
            assert not done.get("failed"), done["msg"]
            assert not (repeated and done["changed"]), done
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    installed = sorted(p.name for p in site.glob("*.dist-info"))
    assert installed == ["requests-1.0.dist-info", f"torch-2.1.2{label}.dist-info", "typing_extensions-1.0.dist-info"]
    assert "Requires-Dist: requests" in (site / f"torch-2.1.2{label}.dist-info" / "METADATA").read_text()

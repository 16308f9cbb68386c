"""What answers today's breakages is in the roles as it was found to work; see the table in roles/sd_webui/README.md."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from ansible_collections.sdops.webui.plugins.module_utils.extensions.catalog import CATALOG
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import webui_version_values
from helpers.paths import ROOT
from packaging.requirements import Requirement

ROLES = ROOT / "roles"
VERSIONS = ("1.10.1", "1.5.2", "dev")
GITHUB = "{{ sdops_github }}"


def load(name: str) -> dict | list:
    return yaml.safe_load((ROLES / name).read_text())


DEFAULTS = load("sd_webui/defaults/main.yml")


def allowed(constraints: list[str], name: str, version: str) -> bool:
    rules = [Requirement(line) for line in constraints if Requirement(line).name == name]
    return all(rule.specifier.contains(version) for rule in rules)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("setuptools", "69.5.1", "82.0.0"),  # no pkg_resources, which CLIP's setup.py imports
        ("numpy", None, "2.2.6"),
        ("opencv-python", "4.11.0.86", "4.12.0.88"),  # from 4.12 on they want numpy 2
        ("opencv-python-headless", "4.11.0.86", "4.12.0.88"),
        ("opencv-contrib-python", "4.11.0.86", "4.12.0.88"),
        ("pydantic", "1.10.17", "2.0"),
        ("protobuf", "3.20.0", "5.29.0"),
        ("protobuf", "4.25.9", "6.33.0"),
        ("httpx", "0.24.1", "0.28.1"),
    ],
)
def test_constraints(version: str, name: str, good: str | None, bad: str) -> None:
    constraints = webui_version_values(version, GITHUB)["constraints"]
    good = good or ("1.23.5" if version == "1.5.2" else "1.26.2")
    assert allowed(constraints, name, good), constraints
    assert not allowed(constraints, name, bad), constraints


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("gradio-client", "0.2.10", "2.7.1"),  # no media_data
        ("websockets", "11.0.3", "16.0"),
        ("huggingface-hub", "0.25.2", "0.36.2"),  # no cached_download
    ],
)
def test_what_1_5_2_leaves_open_is_closed(name: str, good: str, bad: str) -> None:
    constraints = webui_version_values("1.5.2", GITHUB)["constraints"]
    assert allowed(constraints, name, good) and not allowed(constraints, name, bad)


def test_1_5_2_never_gets_a_torchvision_without_functional_tensor() -> None:
    assert {build["torchvision"] for build in webui_version_values("1.5.2", GITHUB)["torch_builds"]} == {"0.15.2"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_repository_is_alive(version: str) -> None:
    found = {
        repository["name"]: repository["repo"] for repository in webui_version_values(version, GITHUB)["repositories"]
    }
    assert found["stable-diffusion-stability-ai"] == "{{ sdops_github }}/w-e-w/stablediffusion.git"
    assert not [repo for repo in found.values() if "Stability-AI/stablediffusion" in repo]
    # 1.10 has its assets in a repository, 1.5 has CodeFormer in one
    assert ("CodeFormer" in found) == (version == "1.5.2") == ("stable-diffusion-webui-assets" not in found)


def test_packaging_tools_of_a_new_environment_are_pinned_first() -> None:
    """A new environment has today's pip and setuptools, which build CLIP no more."""
    for version in VERSIONS:
        tools = webui_version_values(version, GITHUB)["build_packages"]
        assert [line.split("==")[0] for line in tools] == ["pip", "setuptools", "wheel"]
    assert DEFAULTS["sd_webui_build_packages"] == "{{ __sdops_webui_version.build_packages }}"
    tasks = load("sd_webui/tasks/requirements.yml")
    order = [task["name"] for task in tasks]
    assert order.index("Install the packaging tools") < order.index("Install torch from PyTorch's index")
    clip = tasks[-1]["sdops.webui.python_packages"]
    assert order.index("Install torch from PyTorch's index") == len(order) - 2
    assert (
        "__sd_webui_clip_packages" in clip["packages"]
        and "__sd_webui_clip_packages" in clip["no_build_isolation_packages"]
    )


def test_torch_is_not_moved_by_what_comes_after_it() -> None:
    tasks = [
        task["sdops.webui.python_packages"]
        for task in load("sd_webui/tasks/requirements.yml")
        if "sdops.webui.python_packages" in task
    ]
    torch = next(n for n, task in enumerate(tasks) if "index_url" in task)
    # numpy and others of PyTorch's index are not looked at, so they hide no version of the normal one
    assert tasks[torch]["no_deps"] is True and not [task for task in tasks if "index_strategy" in task]
    # all else is one resolution: torch is part of it, and nothing is replaced by a later one
    (rest,) = tasks[torch + 1 :]
    assert rest["protect"] == "{{ __sd_webui_protect if __sd_webui_torch_index else [] }}"
    assert "__sd_webui_torch" in rest["packages"] and rest["requirements"]
    assert all(task["constraints"] for task in tasks[torch:])


def test_default_checkpoint_is_not_downloaded() -> None:
    prepare = next(task for task in load("sd_webui/tasks/verify_install.yml") if "ansible.builtin.command" in task)
    argv = prepare["ansible.builtin.command"]["argv"]
    assert "'--no-download-sd-model'" in argv and "'launch.py'" in argv
    assert "'--no-download-sd-model'" in load("webui_service/vars/main.yml")["__webui_service_args"]


def test_webui_sh_which_rejects_root_is_never_run() -> None:
    assert not [path for path in ROLES.rglob("*.yml") if "/tasks/" in str(path) and "webui.sh" in path.read_text()]


def test_libraries_that_opencv_loads() -> None:
    assert {"libgl1", "libglib2.0-0"} <= set(DEFAULTS["sd_webui_packages"])


def test_nothing_is_shared_unless_requested() -> None:
    """A share needs a program from a site that is blocked in places."""
    defaults = load("webui_service/defaults/main.yml")
    assert defaults["webui_service_share"] == "{{ webui_service_preset == 'tutorial' }}"
    assert defaults["webui_service_preset"] != "tutorial"


def test_roop_installs_a_compiler_and_its_files_from_living_places() -> None:
    roop = CATALOG["roop"]
    assert "insightface==0.7.3" in roop.packages and "g++" in roop.debian
    assert {path.rsplit("/", 1)[-1] for path, *_ in roop.files} == {"detector.onnx", "classes"}
    assert roop.models == ("inswapper-128",)


def test_the_table_names_tests_that_exist() -> None:
    """Every test in the READMEs of the roles is there."""
    root = ROLES.parent
    for notes in ROLES.glob("*/README.md"):
        for path in re.findall(r"`(tests/[\w/.-]+|molecule/[\w/.-]+)`", notes.read_text()):
            assert (root / path).exists(), f"{notes}: {path}"
        scenarios = re.findall(r"molecule `(\w+)`", notes.read_text())
        assert all((root / "molecule" / name).is_dir() for name in scenarios), json.dumps(scenarios)

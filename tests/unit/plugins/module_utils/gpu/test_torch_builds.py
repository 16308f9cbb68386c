"""The build of torch for a GPU, against the table of WebUI versions."""

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sdops.webui.plugins.filter.torch_build import FilterModule
from ansible_collections.sdops.webui.plugins.module_utils.gpu.torch_builds import required_driver
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import webui_version_values
from helpers.paths import ROOT

ROLES = ROOT / "roles"
SHARED = yaml.safe_load((ROLES / "sdops/vars/main.yml").read_text())
torch_build = FilterModule().filters()["torch_build"]


def builds(version: str) -> list[dict]:
    return webui_version_values(version, "https://github.com")["torch_builds"]


@pytest.mark.parametrize(
    ("version", "capabilities", "build", "torch"),
    [
        ("1.10.1", ["8.6"], "cu121", "2.1.2"),
        ("1.10.1", ["8.9"], "cu121", "2.1.2"),
        ("1.10.1", ["9.0", "7.0"], "cu121", "2.1.2"),
        ("1.10.1", ["12.0"], "cu128", "2.7.0"),
        ("1.10.1", ["10.0"], "cu128", "2.7.0"),
        ("1.10.1", ["8.9", "12.0"], "cu128", "2.7.0"),
        ("1.10.1", [], "cu121", "2.1.2"),
        ("1.5.2", ["8.6"], "cu118", "2.0.1"),
        ("dev", ["8.6"], "cu128", "2.7.0"),
        ("dev", ["7.0"], "cu126", "2.7.0"),  # cu128 has had no kernels for Volta
        ("dev", ["7.0", "8.6"], "cu126", "2.7.0"),
        ("1.10.1", ["3.7"], "cu118", "2.1.2"),
    ],
)
def test_the_first_build_that_serves_every_card(version, capabilities, build, torch):
    found = torch_build(builds(version), "auto", capabilities)
    assert (found["build"], found["packages"][0]) == (build, f"torch=={torch}")
    assert found["packages"][1].startswith("torchvision==")
    # what an index of one build has: without the label another build of the same version would do
    assert found["exact"] == [f"{package}+{build}" for package in found["packages"]]
    assert found["reason"]


@pytest.mark.parametrize(
    ("version", "capabilities", "driver", "build"),
    [
        ("1.10.1", ["8.6"], "470.57.02", "cu118"),  # an RTX 3090
        ("1.10.1", ["8.6"], "470.256.02", "cu118"),
        ("1.10.1", ["8.6"], "525.60.13", "cu121"),
        ("1.10.1", ["8.6"], "525.60.11", "cu118"),
        ("1.10.1", ["8.6"], "515.105.01", "cu118"),
        ("1.10.1", ["8.0"], "450.80.02", "cu118"),  # an A100
        ("1.10.1", ["8.0"], "450.248.02", "cu118"),
        ("1.10.1", ["9.0"], "525.147.05", "cu121"),  # an H100
        ("1.10.1", ["9.0"], "520.61.05", "cu118"),
        ("1.10.1", ["7.0"], "580.65.06", "cu121"),
        ("1.10.1", ["7.0", "8.6"], "470.57.02", "cu118"),
        ("1.10.1", ["8.9", "12.0"], "570.86.15", "cu128"),
        ("1.10.1", ["12.0"], "570.26", "cu128"),
        ("1.10.1", ["10.3"], "580.65.06", "cu128"),
        ("1.5.2", ["8.6"], "470.57.02", "cu118"),
        ("dev", ["8.6"], "535.183.01", "cu128"),  # one minimum for all of CUDA 12
        ("dev", ["7.0"], "535.183.01", "cu126"),
        ("dev", ["7.0"], "470.57.02", "cu118"),
        ("dev", ["8.6"], "470.57.02", "cu118"),
        # a capability that nvidia-smi does not tell, and cards that nobody has seen yet
        ("1.10.1", [], "470.57.02", "cu118"),
        ("1.10.1", [], "", "cu121"),
        # what is no version rules nothing out
        ("1.10.1", ["8.6"], "", "cu121"),
        ("1.10.1", ["8.6"], None, "cu121"),
        ("1.10.1", ["8.6"], "[N/A]", "cu121"),
        ("1.10.1", ["12.0"], "unknown", "cu128"),
        ("1.10.1", ["8.6"], "525", "cu121"),
        ("1.10.1", ["8.6"], " 550.54.14-grid ", "cu121"),
    ],
)
def test_the_first_build_that_the_driver_can_run(version, capabilities, driver, build):
    found = torch_build(builds(version), "auto", capabilities, driver)
    assert found["build"] == build
    assert all(package.endswith(f"+{build}") for package in found["exact"])
    usual = torch_build(builds(version), "auto", capabilities)
    if build != usual["build"]:
        assert f"driver {driver} is too old for torch {usual['torch']} {usual['build']}" in found["reason"]


@pytest.mark.parametrize(
    ("version", "capabilities", "driver", "needed"),
    [
        ("1.10.1", ["12.0"], "535.183.01", "570"),  # an RTX 5090
        ("dev", ["12.0"], "550.90.07", "570"),
        ("1.10.1", ["10.0"], "565.57.01", "570"),  # a B200
        ("1.10.1", ["10.3"], "570.86.15", "575"),  # a B300
        ("1.10.1", ["8.6", "12.0"], "535.183.01", "570"),
        ("1.10.1", ["9.0"], "470.57.02", "520"),  # an H100
        ("1.10.1", ["8.9"], "515.105.01", "520"),  # an RTX 4090
        ("1.10.1", ["8.0"], "450.36.06", "450.80.02"),
        ("1.5.2", ["7.0"], "418.226.00", "450.80.02"),
        ("dev", ["7.0"], "440.33.01", "450.80.02"),
        ("1.10.1", [], "440.33.01", "450.80.02"),
    ],
)
def test_a_driver_that_is_too_old_for_all_reports_which_one_is_needed(version, capabilities, driver, needed):
    with pytest.raises(AnsibleFilterError) as caught:
        torch_build(builds(version), "auto", capabilities, driver)
    output = str(caught.value)
    assert f"driver {driver} of this host is too old" in output and f"needs {needed} or newer" in output
    assert all(card in output for card in capabilities) and "Take a host with a newer driver" in output
    # no build helps where the driver does not know the card
    assert ("sd_webui_torch_packages" in output) == needed.startswith("450")


def test_the_driver_does_not_matter_for_the_cpu_and_the_kernels_come_first():
    assert torch_build(builds("1.10.1"), "cpu", ["12.0"], "470.57.02")["build"] == "cpu"
    with pytest.raises(AnsibleFilterError, match="kernels for compute capability 12.0, 7.0"):
        torch_build(builds("1.10.1"), "auto", ["7.0", "12.0"], "470.57.02")


@pytest.mark.parametrize(
    ("label", "needed"),
    [("cu102", "440.33"), ("cu117", "450.80.02"), ("cu129", "525.60.13"), ("cu130", "580"), ("cu999", ""), ("x", "")],
)
def test_a_label_names_the_driver(label, needed):
    assert required_driver({"build": label}, ["7.5"]) == needed


@pytest.mark.parametrize(
    ("promised", "here", "driver"),
    [
        ([], [("8.6", "470.57.02")], "470.57.02"),
        (["8.6"], [("8.6", "470.57.02")], "470.57.02"),
        (["8.6"], [(None, "470.57.02")], "470.57.02"),  # the inventory says what nvidia-smi does not
        (["12.0"], [("8.6", "470.57.02")], ""),  # it is prepared for another card, and so for another host
        (["12.0"], [], ""),
        ([], [], ""),
    ],
)
def test_the_driver_of_the_cards_that_are_meant(promised, here, driver):
    facts = {
        "driver": here[0][1] if here else None,
        "gpus": [{"index": 0, "name": "a card", "memory_mb": 1, "capability": capability} for capability, _ in here],
    }
    found = Templar(
        variables={"sdops_gpu_capabilities": promised, "ansible_facts": {"sdops_gpu": facts}},
        loader=DataLoader(),
    ).template(trust_as_template(SHARED["sdops_gpu_driver"]))
    assert found.strip() == driver


@pytest.mark.parametrize("version", ["1.10.1", "1.5.2", "dev"])
def test_the_cpu_when_requested(version):
    found = torch_build(builds(version), "cpu", ["12.0"])
    assert found["build"] == "cpu" and all(package.endswith("+cpu") for package in found["exact"])


@pytest.mark.parametrize(
    ("version", "capabilities"), [("1.5.2", ["12.0"]), ("1.10.1", ["7.0", "12.0"]), ("1.10.1", ["3.5"])]
)
def test_a_card_that_none_serves_is_named(version, capabilities):
    with pytest.raises(AnsibleFilterError) as caught:
        torch_build(builds(version), "auto", capabilities)
    assert all(card in str(caught.value) for card in capabilities)
    assert builds(version)[0]["torch"] in str(caught.value) and "sd_webui_torch_packages" in str(caught.value)


def test_a_table_without_cuda_or_cpu():
    with pytest.raises(AnsibleFilterError, match="CUDA"):
        torch_build([{"build": "cpu", "torch": "1", "torchvision": "1"}], "auto", [])
    with pytest.raises(AnsibleFilterError, match="CPU"):
        torch_build(builds("1.5.2")[:1], "cpu", [])

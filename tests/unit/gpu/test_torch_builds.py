"""The build of torch for a GPU, against the table that the role has."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.torch_build import FilterModule

ROLE = yaml.safe_load((Path(__file__).resolve().parents[3] / "roles/sd_webui/vars/main.yml").read_text())
torch_build = FilterModule().filters()["torch_build"]


def builds(version: str) -> list[dict]:
    """The version's table, its references followed as Ansible follows them."""
    return [
        ROLE[entry.strip("{} ")] if isinstance(entry, str) else entry
        for entry in ROLE["__sd_webui_releases"][version]["torch"]
    ]


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
        ("dev", ["7.0"], "cu126", "2.7.0"),
    ],
)
def test_the_first_build_that_serves_every_card(version, capabilities, build, torch):
    found = torch_build(builds(version), "auto", capabilities)
    assert (found["build"], found["packages"][0]) == (build, f"torch=={torch}")
    assert found["packages"][1].startswith("torchvision==")
    # what an index of one build has: without the label another build of the same version would do
    assert found["exact"] == [f"{package}+{build}" for package in found["packages"]]
    assert found["reason"]


@pytest.mark.parametrize("version", ["1.10.1", "1.5.2", "dev"])
def test_the_cpu_when_told(version):
    found = torch_build(builds(version), "cpu", ["12.0"])
    assert found["build"] == "cpu" and all(package.endswith("+cpu") for package in found["exact"])


@pytest.mark.parametrize(
    ("version", "capabilities"), [("1.5.2", ["12.0"]), ("1.10.1", ["7.0", "12.0"]), ("1.10.1", ["3.7"])]
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


def test_every_version_pins_everything():
    for version, release in ROLE["__sd_webui_releases"].items():
        assert isinstance(version, str) and len(release["commit"]) == 40
    for name in ("common", "current", "old"):
        for repository in ROLE[f"__sd_webui_{name}_repositories"]:
            assert len(repository["commit"]) == 40 and repository["repo"].startswith("{{ sdops_github }}/")

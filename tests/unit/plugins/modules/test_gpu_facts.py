"""gpu_facts as a process, on fakes of nvidia-smi."""

from __future__ import annotations

import stat
from pathlib import Path

from helpers.module_process import run_module


def smi(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "nvidia-smi"
    path.write_text("#!/bin/sh\n# fake of nvidia-smi\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def facts(path: object, **kwargs) -> dict:
    checked = run_module("gpu_facts", check=True, nvidia_smi=str(path), **kwargs)
    result = run_module("gpu_facts", nvidia_smi=str(path), **kwargs)
    assert checked["ansible_facts"] == result["ansible_facts"]
    assert result["changed"] is False
    return result["ansible_facts"]["sdops_gpu"]


def test_one(tmp_path: Path) -> None:
    found = facts(smi(tmp_path, 'echo "0, NVIDIA RTX A5000, 24564, 550.90.07, 8.6"\n'))
    assert found == {
        "present": True,
        "reason": "",
        "driver": "550.90.07",
        "gpus": [{"index": 0, "name": "NVIDIA RTX A5000", "memory_mb": 24564, "capability": "8.6"}],
    }


def test_many_found_by_path(tmp_path: Path) -> None:
    smi(tmp_path, 'for i in 0 1 2 3 4 5 6 7; do echo "$i, NVIDIA GeForce RTX 4090, 24217, 555.1, 8.9"; done\n')
    found = facts("nvidia-smi", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert [g["index"] for g in found["gpus"]] == list(range(8))


def test_old_driver_does_not_know_compute_cap(tmp_path: Path) -> None:
    body = """
case "$*" in
  *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
esac
echo "0, Tesla V100-SXM2-32GB, 32510, 470.57.02"
"""
    found = facts(smi(tmp_path, body))
    assert found["gpus"][0]["capability"] == "7.0"
    assert found["driver"] == "470.57.02"


def test_no_devices(tmp_path: Path) -> None:
    for status in (0, 6):
        found = facts(smi(tmp_path, f"echo 'No devices were found'; exit {status}\n"))
        assert found["present"] is False
        assert "no GPU" in found["reason"]
        assert found["gpus"] == []


def test_driver_mismatch(tmp_path: Path) -> None:
    output = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.120"
    found = facts(smi(tmp_path, f"echo '{output}'; exit 18\n"))
    assert not found["present"]
    assert "restart the machine" in found["reason"]


def test_no_driver(tmp_path: Path) -> None:
    output = "NVIDIA-SMI has failed because it couldn\\'t communicate with the NVIDIA driver."
    found = facts(smi(tmp_path, "printf '%s\\n' \"{}\"; exit 9\n".format(output.replace("\\'", "'"))))
    assert not found["present"]
    assert "does not reach" in found["reason"]


def test_absent(tmp_path: Path) -> None:
    found = facts(tmp_path / "nowhere" / "nvidia-smi")
    assert not found["present"]
    assert "not installed" in found["reason"]

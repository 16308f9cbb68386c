"""GPU facts from stand-in nvidia-smi programs, and the xformers decision."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.xformers.resolver import WHEELS, resolve


def smi(directory: Path, body: str) -> str:
    path = directory / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "gpus", "reason"),
    [
        ("echo '0, NVIDIA RTX A5000, 24564, 550.90.07, 8.6'", [("NVIDIA RTX A5000", 24564, "8.6")], ""),
        (
            "echo '0, NVIDIA H100, 81559, 550.1, 9.0'; echo '1, NVIDIA H100, 81559, 550.1, 9.0'",
            [("NVIDIA H100", 81559, "9.0")] * 2,
            "",
        ),
        # an old driver knows no compute_cap
        (
            'case "$*" in *compute_cap*) echo \'Field "compute_cap" is not a valid field\'; exit 2;; esac\n'
            "echo '0, Tesla V100-SXM2-32GB, 32510, 450.80'",
            [("Tesla V100-SXM2-32GB", 32510, "7.0")],
            "",
        ),
        ("echo '0, GRID X, [N/A], 550.1, [N/A]'", [("GRID X", None, None)], ""),
        ("echo 'No devices were found'; exit 6", [], "No devices were found"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", [], "mismatch"),
    ],
)
def test_gpu_facts(tmp_path, run_module, body, gpus, reason):
    found = run_module("gpu_facts", nvidia_smi=smi(tmp_path, body))["ansible_facts"]["sdops_gpu"]
    assert [(g["name"], g["memory_mb"], g["capability"]) for g in found["gpus"]] == gpus
    assert found["present"] is bool(gpus)
    assert reason in found["reason"]


def test_no_nvidia_smi_is_a_fact(run_module):
    found = run_module("gpu_facts", nvidia_smi="/nowhere/nvidia-smi")["ansible_facts"]["sdops_gpu"]
    assert (found["present"], found["reason"]) == (False, "/nowhere/nvidia-smi is not installed")


@pytest.mark.parametrize(
    ("torch", "cuda", "python", "capability", "installed", "wanted", "decision", "requirement"),
    [
        ("2.1.2+cu121", "12.1", "3.10.6", "8.6", None, "auto", "wheel", "xformers==0.0.23.post1"),
        ("2.0.1+cu118", "11.8", "3.10.6", "8.6", None, "auto", "wheel", "xformers==0.0.20"),
        ("2.7.0+cu128", "12.8", "3.10.6", "12.0", None, "auto", "wheel", "xformers==0.0.30"),
        ("2.1.2+cu121", "12.1", "3.10.6", "8.6", "0.0.23.post1", "auto", "none_needed", None),
        ("2.1.2+cu121", "12.1", "3.10.6", None, None, "auto", "wheel", "xformers==0.0.23.post1"),
        ("2.1.2+cu121", "12.1", "3.10.6", "12.0", None, "auto", "skip", None),
        ("2.1.2+cpu", None, "3.10.6", None, None, "auto", "skip", None),
        (None, None, "3.10.6", "8.6", None, "auto", "skip", None),
        ("2.1.2+cu121", "12.1", "3.12.1", "8.6", None, "auto", "build", None),
        ("2.1.3+cu121", "12.1", "3.10.6", "8.6", None, "auto", "build", None),
        ("2.1.2+cu121", "12.1", "3.10.6", "8.6", None, "0.0.20", "build", None),
        ("2.7.1+cu126", "12.6", "3.10.6", "7.0", None, "auto", "build", None),
    ],
)
def test_resolver(torch, cuda, python, capability, installed, wanted, decision, requirement):
    plan = resolve(torch, cuda, python, capability, installed, wanted)
    assert (plan.decision, plan.requirement) == (decision, requirement)
    assert plan.reason.endswith(".")


def test_another_cuda_gets_its_index():
    assert resolve("2.1.2+cu118", "11.8", "3.10.6").index_hint == "https://download.pytorch.org/whl/cu118"
    assert resolve("2.1.2+cu121", "12.1", "3.10.6").index_hint is None


def test_every_torch_is_in_the_table_once():
    assert len({w.torch for w in WHEELS}) == len(WHEELS)


def test_plan_of_an_environment_without_torch_and_of_none(tmp_path, run_module):
    found = run_module("xformers_plan", python=sys.executable)
    assert (found["failed"], found["decision"]) == (False, "skip")
    assert run_module("xformers_plan", check=True, python=str(tmp_path / "no"))["decision"] == "unknown"
    assert run_module("xformers_plan", python=str(tmp_path / "no"))["failed"]

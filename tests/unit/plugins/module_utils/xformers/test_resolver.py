"""The table, row by row as the facts have it, and the cases around it."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.xformers.resolver import (
    TABLE,
    Installed,
    covers,
    resolve,
    torch_cuda,
    torch_index_url,
    torch_required,
)

# torch, its CUDA, Python -> xformers, whether from PyTorch's own index
WHEELS = [
    ("1.13.1", "11.7", "3.10.6", "0.0.16", False),
    ("2.0.0+cu118", "11.8", "3.10.6", "0.0.19", False),
    ("2.0.1+cu118", "11.8", "3.10.6", "0.0.20", False),
    ("2.0.1+cu118", "11.8", "3.11.9", "0.0.20", False),
    ("2.1.0", "12.1", "3.10.6", "0.0.22.post7", False),
    ("2.1.1", "12.1", "3.10.6", "0.0.23", False),
    ("2.1.2", "12.1", "3.10.6", "0.0.23.post1", False),
    ("2.1.2+cu121", "12.1", "3.10.6", "0.0.23.post1", False),
    ("2.1.2+cu118", "11.8", "3.10.6", "0.0.23.post1", True),
    ("2.2.2", "12.1", "3.11.0", "0.0.25.post1", False),
    ("2.3.1", "12.1", "3.12.1", "0.0.27", False),
    ("2.4.0", "12.1", "3.10.6", "0.0.27.post2", False),
    ("2.4.1", "12.1", "3.10.6", "0.0.28.post1", False),
    ("2.5.1", "12.1", "3.10.6", "0.0.29.post1", False),
    ("2.6.0", "12.4", "3.10.6", "0.0.29.post3", False),
    ("2.7.0", "12.6", "3.10.6", "0.0.30", False),
    ("2.7.0+cu128", "12.8", "3.10.6", "0.0.30", True),
    ("2.7.0+cu118", "11.8", "3.10.6", "0.0.30", True),
    ("2.8.0", "12.8", "3.13.0", "0.0.32.post2", False),
    ("2.9.1", "12.8", "3.13.0", "0.0.33.post2", False),
    ("2.10.0", "13.0", "3.13.0", "0.0.34", False),
    ("2.11.0", "13.0", "3.13.0", "0.0.35", False),
]


@pytest.mark.parametrize(("torch", "cuda", "python", "xformers", "own_index"), WHEELS)
def test_wheels(torch: str, cuda: str, python: str, xformers: str, own_index: bool) -> None:
    plan = resolve(torch, cuda, python)
    assert plan.decision == "wheel", plan
    assert plan.requirement == "xformers==" + xformers
    assert plan.index_hint == (torch_index_url(cuda) if own_index else None)
    assert torch.split("+")[0] in plan.reason or "2.10" in plan.reason


@pytest.mark.parametrize("capability", ["7.0", "7.5", "8.0", "8.6", "8.9", "9.0"])
@pytest.mark.parametrize(("torch", "cuda"), [("2.0.1+cu118", "11.8"), ("2.1.2+cu121", "12.1")])
def test_both_pins_of_the_webui_need_no_build_from_v100_to_h100(torch: str, cuda: str, capability: str) -> None:
    assert resolve(torch, cuda, "3.10.6", [capability]).decision == "wheel"


def test_without_a_gpu_the_host_is_prepared_all_the_same() -> None:
    assert resolve("2.1.2", "12.1", "3.10.6", []).decision == "wheel"


@pytest.mark.parametrize("capability", ["10.0", "12.0"])
def test_blackwell_needs_a_newer_torch(capability: str) -> None:
    for torch, cuda in (("2.1.2+cu121", "12.1"), ("2.7.0+cu126", "12.6"), ("2.6.0+cu128", "12.8")):
        plan = resolve(torch, cuda, "3.10.6", [capability])
        assert plan.decision == "unsupported"
        assert "cu128" in plan.reason and capability in plan.reason
    assert resolve("2.7.0+cu128", "12.8", "3.10.6", [capability]).index_hint == torch_index_url("12.8")


def test_blackwell_is_unsupported_even_when_xformers_is_there() -> None:
    installed = Installed("0.0.23.post1", "2.1.2")
    assert resolve("2.1.2", "12.1", "3.10.6", ["12.0"], installed).decision == "unsupported"


def test_a_mixed_host_is_resolved_by_its_most_demanding_gpu() -> None:
    assert resolve("2.1.2", "12.1", "3.10.6", ["8.6", "12.0"]).decision == "unsupported"


def test_v100_lost_its_kernels() -> None:
    assert resolve("2.7.1", "12.6", "3.10.6", ["7.0"]).decision == "build"
    assert resolve("2.7.0", "12.6", "3.10.6", ["7.0"]).decision == "wheel"
    # 10.0 is a greater version than 7.5, though not a greater string
    assert resolve("2.7.1+cu128", "12.8", "3.10.6", ["10.0"]).decision == "wheel"


def test_cpu_torch() -> None:
    plan = resolve("2.1.2+cpu", None, "3.10.6", ["8.6"])
    assert (plan.decision, plan.requirement) == ("skip", None)
    assert "CPU" in plan.reason


def test_no_torch() -> None:
    assert resolve(None, None, "3.10.6").decision == "unknown"


def test_cu117_torch_does_not_get_the_cu118_wheel() -> None:
    plan = resolve("2.0.1", "11.7", "3.10.6")
    assert plan.decision == "build"
    assert torch_index_url("11.8") in plan.reason


def test_installed() -> None:
    def decide(installed: str, built_for: str | None = None, version: str = "auto") -> str:
        return resolve("2.1.2+cu121", "12.1", "3.10.6", ["8.6"], Installed(installed, built_for), version).decision

    assert decide("0.0.23.post1") == "none_needed"
    assert decide("0.0.23.post1", "2.1.2") == "none_needed"
    assert decide("0.0.23.post1", "2.1.2", "0.0.23.post1") == "none_needed"
    assert decide("0.0.24+1a2b3c4.d20240101", "2.1.2") == "none_needed"  # built here, for this torch
    assert decide("0.0.20", "2.0.1") == "wheel"  # torch has moved on
    assert decide("0.0.20") == "wheel"
    assert decide("0.0.22.post7", "2.1.0", "0.0.23.post1") == "wheel"
    # any of several that were published for this torch stays
    assert resolve("2.0.1+cu118", "11.8", "3.10.6", [], Installed("0.0.22")).decision == "none_needed"


def made(version: str, torch: str, cuda: str, *capabilities: str) -> dict:
    return {"version": version, "torch": torch, "cuda": cuda, "capabilities": list(capabilities)}


@pytest.mark.parametrize(
    ("torch", "cuda", "cards", "was", "decision"),
    [
        # the same version of torch, for another CUDA: metadata would not tell
        ("2.1.2+cu118", "11.8", ["8.6"], made("0.0.23.post1", "2.1.2", "12.1"), "wheel"),
        ("2.1.2+cu121", "12.1", ["8.6"], made("0.0.23.post1", "2.1.2", "12.1"), "none_needed"),
        # built for another card
        ("2.1.2+cu121", "12.1", ["9.0"], made("0.0.23.post1", "2.1.2", "12.1", "8.6"), "wheel"),
        ("2.1.2+cu121", "12.1", ["8.0"], made("0.0.23.post1", "2.1.2", "12.1", "8.6"), "wheel"),
        ("2.1.2+cu121", "12.1", ["8.9"], made("0.0.23.post1", "2.1.2", "12.1", "8.6"), "none_needed"),
        ("2.1.2+cu121", "12.1", ["8.6", "9.0"], made("0.0.23.post1", "2.1.2", "12.1", "8.6", "9.0"), "none_needed"),
        # no card now: what was built stays
        ("2.1.2+cu121", "12.1", [], made("0.0.23.post1", "2.1.2", "12.1", "8.6"), "none_needed"),
        # a record of another version says nothing
        ("2.1.2+cu121", "12.1", ["8.6"], made("0.0.20", "2.0.1", "11.8"), "none_needed"),
    ],
)
def test_what_was_written_down_counts(torch: str, cuda: str, cards: list, was: dict, decision: str) -> None:
    installed = Installed("0.0.23.post1+1a2b3c4", "2.1.2", was)
    assert resolve(torch, cuda, "3.10.6", cards, installed).decision == decision


def test_one_that_was_never_published_stays_when_it_was_built_for_this_torch() -> None:
    """Also on a box whose card is away, where it could not be built again."""
    was = made("0.0.21", "2.1.2", "12.1", "8.6")
    for cards in ([], ["8.6"]):
        for version in ("auto", "0.0.21"):
            plan = resolve("2.1.2+cu121", "12.1", "3.10.6", cards, Installed("0.0.21", None, was), version)
            assert plan.decision == "none_needed"


def test_a_published_one_without_kernels_for_the_card_is_not_enough() -> None:
    was = made("0.0.31.post1", "2.7.1", "12.6")
    for capabilities, decision in (([], "build"), (["7.0"], "none_needed")):
        installed = Installed("0.0.31.post1", "2.7.1", {**was, "capabilities": capabilities})
        assert resolve("2.7.1", "12.6", "3.10.6", ["7.0"], installed).decision == decision


@pytest.mark.parametrize(
    ("arch", "capability", "expected"),
    [("8.6", "8.6", True), ("8.6", "8.9", True), ("8.6", "8.0", False), ("8.6", "9.0", False), ("12.0", "12.0", True)],
)
def test_covers(arch: str, capability: str, expected: bool) -> None:
    assert covers(arch, capability) is expected


def test_the_index_follows_the_mirror() -> None:
    mirror = "https://mirror.example.org/pytorch/whl/"
    plan = resolve("2.7.0+cu128", "12.8", "3.10.6", ["12.0"], index=mirror)
    assert plan.index_hint == "https://mirror.example.org/pytorch/whl/cu128"
    plan = resolve("2.1.2+cu121", "12.1", "3.10.6", ["12.0"], index=mirror)
    assert plan.decision == "unsupported" and "mirror.example.org" in plan.reason and "pytorch.org" not in plan.reason


# The table of the published wheels' METADATA and cpp_lib.json: versions, torch, CUDA of the normal index, oldest and newest
# Python ("" where the wheel has the stable ABI or the fact is not known), more CUDA versions on PyTorch's own index.
FACTS = """
0.0.16                      | 1.13.1 | 11.7 | 3.7 | 3.10 |
0.0.17 0.0.18 0.0.19        | 2.0.0  | 11.8 | 3.8 | 3.10 |
0.0.20 0.0.21 0.0.22        | 2.0.1  | 11.8 | 3.8 | 3.11 |
0.0.22.post7                | 2.1.0  | 12.1 | 3.8 | 3.11 | 11.8
0.0.23                      | 2.1.1  | 12.1 | 3.8 | 3.11 | 11.8
0.0.23.post1                | 2.1.2  | 12.1 | 3.8 | 3.11 | 11.8
0.0.24                      | 2.2.0  | 12.1 | 3.8 | 3.11 | 11.8
0.0.25                      | 2.2.1  | 12.1 | 3.8 | 3.11 | 11.8
0.0.25.post1                | 2.2.2  | 12.1 | 3.8 | 3.11 | 11.8
0.0.26.post1                | 2.3.0  | 12.1 | 3.8 | 3.11 | 11.8
0.0.27                      | 2.3.1  | 12.1 | 3.8 | 3.12 | 11.8
0.0.27.post1 0.0.27.post2   | 2.4.0  | 12.1 | 3.8 | 3.12 | 11.8
0.0.28 0.0.28.post1         | 2.4.1  | 12.1 |     |      | 11.8
0.0.28.post2                | 2.5.0  | 12.1 |     |      | 11.8
0.0.28.post3                | 2.5.1  | 12.1 |     |      | 11.8
0.0.29 0.0.29.post1         | 2.5.1  | 12.1 |     |      | 11.8
0.0.29.post2 0.0.29.post3   | 2.6.0  | 12.4 |     |      | 11.8
0.0.30                      | 2.7.0  | 12.6 | 3.9 | 3.12 | 11.8 12.8
0.0.31 0.0.31.post1         | 2.7.1  |      |     |      |
0.0.32.post1 0.0.32.post2   | 2.8.0  | 12.8 |     |      |
0.0.33 0.0.33.post1         | 2.9.0  |      |     |      |
0.0.33.post2                | 2.9.1  |      |     |      |
0.0.34                      | 2.10.0 |      |     |      |
0.0.35                      | 2.10.0 |      |     |      |
"""
BY_TORCH = {row.torch: row for row in TABLE}
ROWS = [[cell.strip() for cell in line.split("|")] for line in FACTS.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_of_the_facts(row: list[str]) -> None:
    versions, torch, cuda, oldest, newest, elsewhere = row
    for version in versions.split():
        for where in [cuda or BY_TORCH[torch].cuda or "13.0", *elsewhere.split()]:
            for python in filter(None, (oldest, newest)) if oldest else ("3.10",):
                plan = resolve(torch, where, python + ".6", requested=version)
                assert (plan.decision, plan.requirement) == ("wheel", "xformers==" + version), (where, python)
                assert plan.index_hint == (torch_index_url(where) if where in elsewhere.split() else None)
                installed = Installed(version, torch)
                assert resolve(torch, where, python + ".6", installed=installed).decision == "none_needed"
        if oldest:
            for python in (f"3.{int(oldest[2:]) - 1}.9", f"3.{int(newest[2:]) + 1}.0"):
                assert resolve(torch, cuda, python, requested=version).decision == "build"
        if cuda:
            assert resolve(torch, "10.2", "3.10.6", requested=version).decision == "build"
        # for another torch it is no wheel
        others = [other[1] for other in ROWS if other[1] not in (torch, "2.10.0")]
        assert (
            all(resolve(t, "12.1", "3.10.6", requested=version).decision == "build" for t in others)
            or version == "0.0.35"
        )


def test_the_table_has_nothing_that_the_facts_have_not() -> None:
    facts = {(version, row[1]) for row in ROWS for version in row[0].split()}
    assert {(version, row.torch) for row in TABLE for version in row.versions} == facts
    assert all(row.best in row.versions for row in TABLE)


def test_requested_version() -> None:
    assert resolve("2.0.1+cu118", "11.8", "3.10.6", requested="0.0.21").requirement == "xformers==0.0.21"
    plan = resolve("2.1.2", "12.1", "3.10.6", requested="0.0.20")
    assert (plan.decision, plan.requirement) == ("build", "xformers==0.0.20")


def test_unknown_torch_and_python() -> None:
    assert resolve("2.2.3", "12.1", "3.10.6").decision == "build"
    plan = resolve("2.1.2", "12.1", "3.12.0")
    assert plan.decision == "build" and "3.12.0" in plan.reason


def test_helpers() -> None:
    assert torch_cuda("2.1.2+cu121") == "12.1"
    assert torch_cuda("2.9.0+cu130") == "13.0"
    assert torch_cuda("1.12.0+cu92") == "9.2"
    assert torch_cuda("2.1.2") is None
    assert torch_cuda("2.1.2+cpu") is None
    assert torch_required(["numpy", "torch ==2.1.2"]) == "2.1.2"
    assert torch_required(["torch (==2.0.1)", "pyre-extensions"]) == "2.0.1"
    assert torch_required(["torch>=2.10"]) is None

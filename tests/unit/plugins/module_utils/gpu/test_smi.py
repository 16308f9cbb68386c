"""Facts from fakes of nvidia-smi that answer as the real one does in good and bad times."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.gpu import smi


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("Tesla V100-SXM2-32GB", "7.0"),
        ("Tesla T4", "7.5"),
        ("NVIDIA GeForce RTX 2080 Ti", "7.5"),
        ("Quadro RTX 6000", "7.5"),
        ("Quadro RTX 5000", "7.5"),
        ("Quadro RTX 4000", "7.5"),
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("NVIDIA RTX A5000", "8.6"),
        ("NVIDIA RTX A6000", "8.6"),
        ("NVIDIA A40", "8.6"),
        ("NVIDIA A10", "8.6"),
        ("NVIDIA GeForce RTX 3090", "8.6"),
        ("NVIDIA GeForce RTX 3080 Ti", "8.6"),
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("NVIDIA GeForce RTX 4090 D", "8.9"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("NVIDIA GeForce RTX 4090D", "8.9"),
        ("NVIDIA RTX 5000 Ada Generation", "8.9"),
        ("NVIDIA L20", "8.9"),
        ("NVIDIA L40S", "8.9"),
        ("NVIDIA H20", "9.0"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("NVIDIA H200", "9.0"),
        ("NVIDIA B200", "10.0"),
        ("NVIDIA GB300", "10.3"),
        ("NVIDIA GeForce RTX 5090", "12.0"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0"),
        ("Some Card 9000", None),
    ],
)
def test_capability_by_name(name: str, capability: str | None) -> None:
    assert smi.capability_by_name(name) == capability


def test_parse_returns_none_for_unknown_values() -> None:
    facts = smi.parse_gpu_query("0, Mystery Card, [N/A], 555.42.06, [N/A]\n")
    assert facts["present"]
    assert facts["gpus"] == [{"index": 0, "name": "Mystery Card", "memory_mb": None, "capability": None}]


def test_parse_a_name_with_a_comma_is_quoted() -> None:
    assert smi.parse_gpu_query('0, "Card, big", 1024, 1.0, 8.0\n')["gpus"][0]["name"] == "Card, big"


def test_a_lost_gpu_is_no_gpu() -> None:
    facts = smi.parse_gpu_query("0, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]\n")
    assert not facts["present"]
    assert "lost GPU 0" in facts["reason"]


def test_a_lost_gpu_among_others_is_named() -> None:
    facts = smi.parse_gpu_query(
        "0, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]\n1, NVIDIA A40, 46068, 550.90.07, 8.6\n"
    )
    assert facts["present"] and [gpu["index"] for gpu in facts["gpus"]] == [1]
    assert "lost GPU 0" in facts["reason"]

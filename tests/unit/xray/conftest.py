"""Hypothesis keeps its examples where all other state lies."""

from __future__ import annotations

from pathlib import Path

from hypothesis import configuration

configuration.set_hypothesis_home_dir(Path(__file__).resolve().parents[3] / ".work" / "hypothesis")

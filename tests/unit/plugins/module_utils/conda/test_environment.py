"""What of an environment is decided without any engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.conda import engines, environment
from ansible_collections.sdops.webui.plugins.module_utils.errors import CondaError
from helpers.fake_conda import fake_conda


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ffmpeg", True),
        ("FFmpeg", True),
        ("conda-forge::ffmpeg", True),
        ("ffmpeg=6", True),
        ("ffmpeg=6.1", True),
        ("ffmpeg=6.1.2", False),
        ("ffmpeg==6.1.1", True),
        ("ffmpeg==6.1", False),
        ("ffmpeg=6.1.*", True),
        ("ffmpeg=61", False),
        ("ffmpeg >=7", True),  # not checked: being there is enough
        ("git", False),
    ],
)
def test_spec_met(spec: str, expected: bool) -> None:
    assert environment.is_spec_met(spec, {"ffmpeg": "6.1.1"}) is expected


def test_exact_python() -> None:
    assert environment.validate_python_version("3.10.6") == "3.10.6"
    for version in ("3.10", "3.1", "3", "3.10.*", ">=3.10.6", ""):
        with pytest.raises(CondaError, match="exact version"):
            environment.validate_python_version(version)


def test_channel_urls() -> None:
    assert engines.channel_url("conda-forge", None) == "https://conda.anaconda.org/conda-forge"
    assert engines.channel_url("conda-forge", "https://m/anaconda/cloud/") == "https://m/anaconda/cloud/conda-forge"
    assert engines.channel_url("https://h/ch", "https://m") == "https://h/ch"
    assert engines.channel_url("/srv/ch", None) == "file:///srv/ch"


def test_finding_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CONDA_DIRECTORIES", ("~/miniforge3/bin",))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert engines.find_program("auto") is None
    usual = fake_conda(tmp_path / "home" / "miniforge3" / "bin", "conda")
    assert engines.find_program("auto") == str(usual)  # not on PATH
    on_path = fake_conda(tmp_path / "path", "micromamba")
    assert engines.find_program("auto") == str(usual)  # conda before micromamba
    assert engines.find_program("micromamba") == str(on_path)
    assert engines.find_program(str(on_path)) == str(on_path)
    assert engines.find_program("rattler") is None
    for missing, message in (
        ("mamba", "neither on PATH"),
        ("/no/conda", "does not exist"),
        ("anaconda", "must be auto"),
    ):
        with pytest.raises(CondaError, match=message):
            engines.find_program(missing)


def test_half_a_record_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "a-1-0.json").write_text('{"name": "a", "version": "1"}')
    (tmp_path / "conda-meta" / "b-1-0.json").write_text('{"name": "b", "ver')
    assert environment.installed_packages(str(tmp_path)) == {"a": "1"}


def test_the_marker_goes_last(tmp_path: Path) -> None:
    """A cut while clearing leaves something that still counts as unfinished."""
    prefix = tmp_path / "env"
    (prefix / "sub").mkdir(parents=True)
    (prefix / environment.INCOMPLETE_MARKER).touch()
    env = environment.CondaEnvironment(environment.EnvironmentSpec(str(prefix), "3.10.6", [], []))
    os.chmod(prefix, 0o755)
    (prefix / "sub" / "file").touch()
    env._clear(keep_marker=True)
    assert os.listdir(prefix) == [environment.INCOMPLETE_MARKER]
    assert env.is_unfinished()
    env._clear()
    assert not prefix.exists()

"""Whether a requirement is met, judged against a real environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import PythonEnvError
from ansible_collections.sdops.webui.plugins.module_utils.python_env.environment import (
    compare_versions,
    inspect_environment,
    version_labels,
)
from ansible_collections.sdops.webui.plugins.module_utils.python_env.requirements import (
    RequirementChecker,
    read_requirements,
)
from helpers.wheels import install, venv, wheel


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("links")
    wheel(where, "torch", "2.1.2+cu121")
    wheel(where, "protobuf", "3.20.0")
    wheel(where, "mediapipe", "0.10.15", "protobuf>=4.25", "torch")
    wheel(
        where, "Flask_Thing", "1.0rc1", "gone; extra == 'more'", "protobuf; sys_platform == 'win32'", extras=("more",)
    )
    wheel(where, "lonely", "1.0", "gone>=1")
    wheel(where, "clip", "1.0")
    return where


@pytest.fixture(scope="module")
def state(links: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    python = venv(tmp_path_factory.mktemp("venv") / "v")
    clip = links / "clip-1.0-py3-none-any.whl"
    install(
        python,
        "--no-index",
        "-f",
        links,
        "--no-deps",
        "torch",
        "protobuf",
        "mediapipe",
        "flask-thing==1.0rc1",
        "lonely",
    )
    install(python, "--no-index", f"clip @ file://{clip}")
    return inspect_environment(str(python))


CASES = [
    ("torch", True),
    ("torch==2.1.2", True),  # a pin without a label is met by a labelled build
    ("torch==2.1.2+cu121", True),
    ("torch==2.1.2+cu118", False),
    ("torch>=2.2", False),
    ("Torch >= 2.0 , < 3", True),
    ("missing", False),
    ("missing; python_version < '3.8'", True),
    ("torch==9; sys_platform == 'win32'", True),
    ("torch==9; sys_platform == 'linux'", False),
    ("mediapipe==0.10.15", True),  # what it says about protobuf was bent on purpose and stays
    ("protobuf==3.20.0", True),
    ("protobuf>=4.25", False),
    ("flask.thing", True),  # a release candidate that is there counts
    ("flask-thing[more]", False),  # what the extra brings is not there
    ("lonely", False),  # what it depends on is not there
    ("-e /src/thing", False),
    ("thing @ https://example.org/x.whl", False),
    ("git+https://example.org/x.git", False),
    ("not a requirement !", False),
]


@pytest.mark.parametrize(("requirement", "expected"), CASES)
def test_met(state: dict, requirement: str, expected: bool) -> None:
    assert RequirementChecker(state, [], []).is_met(requirement) is expected


def test_without_dependencies(state: dict) -> None:
    assert RequirementChecker(state, [], []).is_met("lonely", depends=False)


def test_urls(state: dict, links: Path) -> None:
    checker = RequirementChecker(state, [], [])
    url = f"file://{links}/clip-1.0-py3-none-any.whl"
    assert checker.is_met("clip @ " + url)
    assert checker.is_met(url) and checker.is_met(url + "#egg=clip") and checker.is_met(url[len("file://") :])
    assert not checker.is_met("clip @ file:///elsewhere/clip-1.0-py3-none-any.whl")
    assert checker.is_met("clip==1.0")


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("git+https://h/CLIP.git@" + "a" * 40, True),
        ("clip @ git+https://user:pw@h/CLIP.git@" + "a" * 40, True),
        ("git+https://h/CLIP.git@" + "b" * 40, False),
        ("git+https://h/CLIP.git@main", False),  # a branch may have moved
        ("git+https://h/CLIP.git", False),
        ("git+https://h/other.git@" + "a" * 40, False),
        ("https://h/CLIP.git", False),
    ],
)
def test_version_control(state: dict, requirement: str, expected: bool) -> None:
    vcs = {"url": "https://h/CLIP.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}}
    clip = {**state["distributions"]["clip"], "direct_url": vcs}
    changed = {**state, "distributions": {**state["distributions"], "clip": clip}}
    assert RequirementChecker(changed, [], []).is_met(requirement) is expected


COMMIT = "d50d76daa670286dd6cacf3bcd80b5e4823fc8e1"


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (f"clip @ https://github.com/openai/CLIP/archive/{COMMIT}.zip", True),
        (f"clip @ https://mirror.example.org/openai/CLIP/archive/{COMMIT}.zip", True),
        (f"clip @ https://proxy.example.org/https://github.com/openai/CLIP/archive/{COMMIT}.zip", True),
        (f"clip @ https://mirror.example.org/somebody/CLIP/archive/{COMMIT}.zip", False),
        ("clip @ https://github.com/openai/CLIP/archive/%s.zip" % ("b" * 40), False),
        ("clip @ https://mirror.example.org/openai/CLIP/archive/main.zip", False),
    ],
)
def test_a_commit_is_the_same_on_every_mirror(state: dict, requirement: str, expected: bool) -> None:
    direct = {"url": f"https://github.com/openai/CLIP/archive/{COMMIT}.zip", "archive_info": {}}
    clip = {**state["distributions"]["clip"], "direct_url": direct}
    changed = {**state, "distributions": {**state["distributions"], "clip": clip}}
    assert RequirementChecker(changed, [], []).is_met(requirement) is expected


@pytest.mark.parametrize(
    ("missing", "named"),
    [(["INSTALLER"], "clip"), (["INSTALLER", "RECORD"], "clip"), (["INSTALLER", "METADATA"], "clip")],
)
def test_interrupted_installation_counts_as_not_installed(
    links: Path, tmp_path: Path, missing: list[str], named: str
) -> None:
    python = venv(tmp_path / "v")
    install(python, "--no-index", "-f", links, "clip", "lonely", "--no-deps")
    [info] = (tmp_path / "v").rglob("clip-1.0.dist-info")
    # conda and pip say who installed it, as uv does
    (next((tmp_path / "v").rglob("lonely-1.0.dist-info")) / "INSTALLER").write_text("conda\n")
    for name in missing:
        (info / name).unlink()
    found = inspect_environment(str(python))
    assert version_labels(found)[named] == "1.0 (incomplete)"
    assert not RequirementChecker(found, [], []).is_met(named)
    assert version_labels(found)["lonely"] == "1.0"
    assert RequirementChecker(found, [], []).is_met("lonely", depends=False)


def test_constraints_and_overrides(state: dict, tmp_path: Path) -> None:
    inner, outer, over = (tmp_path / n for n in ("inner.txt", "outer.txt", "over.txt"))
    inner.write_text("protobuf>=4  # newer\n")
    outer.write_text("-c inner.txt\nunrelated==1\n")
    assert not RequirementChecker(state, [str(outer)], []).is_met("protobuf")
    assert not RequirementChecker(state, [str(outer)], []).is_met("mediapipe")  # by what it depends on
    assert RequirementChecker(state, [str(outer)], []).is_met("torch")
    over.write_text("protobuf==3.20.0\n")
    assert RequirementChecker(state, [], [str(over)]).is_met("protobuf>=4.25")
    over.write_text("protobuf==4.25.9\n")
    assert not RequirementChecker(state, [], [str(over)]).is_met("mediapipe")


def test_read_file(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.txt").write_text("beta\n-r ../a.txt\n")
    (tmp_path / "a.txt").write_bytes(
        b"\xef\xbb\xbfalpha==1.0 \\\n    --hash=sha256:00\n# comment\n\n--index-url https://h/simple\n-r more/b.txt\n"
        b"-c c.txt\n-e ./src\ngamma @ https://h/g.zip#egg=gamma  # why\ndelta;python_version<'4'\n"
    )
    lines = read_requirements(str(tmp_path / "a.txt"))
    expected = ["alpha==1.0", "beta", "-e ./src", "gamma @ https://h/g.zip#egg=gamma", "delta;python_version<'4'"]
    assert lines.requirements == expected
    assert lines.constraints == [str(tmp_path / "c.txt")]
    with pytest.raises(PythonEnvError, match=r"nowhere\.txt cannot be read"):
        read_requirements(str(tmp_path / "nowhere.txt"))


def test_inspect_reports_the_defect(tmp_path: Path) -> None:
    with pytest.raises(PythonEnvError, match="Make the environment first"):
        inspect_environment(str(tmp_path / "bin" / "python"))
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho boom >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(PythonEnvError, match="boom"):
        inspect_environment(str(broken))


def test_labels_and_difference(state: dict, links: Path) -> None:
    named = version_labels(state)
    assert named["torch"] == "2.1.2+cu121"
    assert named["clip"] == f"1.0 (file://{links}/clip-1.0-py3-none-any.whl)"
    assert compare_versions({"a": "1", "b": "1", "d": "1"}, {"a": "2", "c": "1", "d": "1"}) == [
        {"name": "a", "before": "1", "after": "2"},
        {"name": "b", "before": "1", "after": None},
        {"name": "c", "before": None, "after": "1"},
    ]

"""What is on disk is told apart, repaired, hardened and brought back; nothing turns the check off."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.roop import patch as room
from ansible_collections.sdops.webui.plugins.module_utils.roop.hardened import render
from ansible_collections.sdops.webui.plugins.module_utils.roop.patch import Patch, RoopError, classify
from ansible_collections.sdops.webui.plugins.modules import roop_nsfw_patch

# ours, with the interface and the meaning of the extension's file
ORIGINAL = """import tempfile
from ifnude import detect


def convert_to_sd(img):
    seen = []
    for part in detect(img):
        seen.append(part["score"] > 0.7)
    return [any(seen), tempfile.NamedTemporaryFile(delete=False, suffix=".png")]
"""
BYPASSES = {
    "constant": ORIGINAL.replace("any(seen)", "False"),
    "zero": ORIGINAL.replace("any(seen)", "0"),
    "early": ORIGINAL.replace("    seen = []\n", "    return (False, open('/dev/null'))\n    seen = []\n"),
    "nothing noted": ORIGINAL.replace('part["score"] > 0.7', "False"),
    "higher": ORIGINAL.replace("0.7", "1.1"),
    "not asked": ORIGINAL.replace("detect(img)", "[]"),
    "own detector": ORIGINAL.replace("from ifnude import detect\n", "def detect(img):\n    return []\n"),
    "edited": render(0.7).replace("blocked = True", "blocked = False"),
    "raised": render(0.7).replace("THRESHOLD = 0.7", "THRESHOLD = 7.7"),
    "marked": render(0.7).split("\n", 1)[0] + "\n" + ORIGINAL,
}
UNKNOWN = {
    "another function": "def convert(img):\n    return img\n",
    "older": "def convert_to_sd(img):\n    return img\n",
    "broken": "def convert_to_sd(img:\n",
    "not text": b"\xff\xfe\x00".decode("latin-1"),
    "own idea": ORIGINAL.replace("any(seen)", "max(seen)"),
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(room, "UPSTREAM", (hashlib.sha256(ORIGINAL.encode()).hexdigest(),))


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    (tmp_path / "roop" / "scripts").mkdir(parents=True)
    write(tmp_path / "roop", ORIGINAL)
    return tmp_path / "roop"


def cimage(extension: Path) -> Path:
    return extension / "scripts" / "cimage.py"


def write(extension: Path, text: str) -> None:
    cimage(extension).write_bytes(text.encode("latin-1"))


class Module:
    """As much of AnsibleModule as the module's work() looks at."""

    def __init__(self, path: Path, check: bool = False, **params: object) -> None:
        self.params = {"path": str(path), "state": "hardened", "threshold": 0.7, **params}
        self.check_mode = check


def work(path: Path, **params: object) -> dict:
    return roop_nsfw_patch.work(Module(path, **params))


@pytest.mark.parametrize(("name", "text"), BYPASSES.items())
def test_a_bypassed_check_is_told_and_repaired(extension, name, text):
    assert classify(text.encode()).status == "bypassed", name
    write(extension, text)
    planned = work(extension, check=True)
    assert planned["changed"] and planned["reason"] and cimage(extension).read_text() == text
    done = work(extension)
    assert done["status"] == "bypassed" and "repair" in done["actions"][0]
    assert cimage(extension).read_text() == render(0.7)
    assert not Path(Patch(str(extension)).backup).exists()  # a bypassed one is not kept


@pytest.mark.parametrize(("name", "text"), UNKNOWN.items())
@pytest.mark.parametrize("state", ["hardened", "upstream"])
def test_what_is_unknown_is_left_alone(extension, name, text, state):
    write(extension, text)
    with pytest.raises(RoopError, match="left as it is"):
        work(extension, state=state)
    assert cimage(extension).read_bytes() == text.encode("latin-1")
    assert [p.name for p in cimage(extension).parent.iterdir()] == ["cimage.py"]


def test_hardened_and_back(extension):
    cimage(extension).chmod(0o640)
    for check in (True, False):
        result = work(extension, check=check)
        assert (result["changed"], result["status"]) == (True, "upstream")
        assert "+" in result["diff"]["after"] or result["diff"]["after"] == render(0.7)
    assert not work(extension)["changed"] and not work(extension, check=True)["changed"]
    assert cimage(extension).stat().st_mode & 0o777 == 0o640
    stricter = work(extension, threshold=0.5)
    assert stricter["changed"] and "0.5" in stricter["actions"][0]
    assert classify(cimage(extension).read_bytes()).threshold == 0.5
    back = work(extension, state="upstream")
    assert back["changed"] and cimage(extension).read_text() == ORIGINAL
    assert not work(extension, state="upstream")["changed"]
    assert work(cimage(extension))["changed"]  # the file itself may be named


def test_the_original_from_git(extension):
    git = ["git", "-C", str(extension), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    write(extension, BYPASSES["constant"])
    assert work(extension, state="upstream")["actions"][-1] == "bring the original check back"
    assert cimage(extension).read_text() == ORIGINAL


def test_an_original_that_is_nowhere(extension):
    write(extension, BYPASSES["constant"])
    with pytest.raises(RoopError, match="neither in its backup nor"):
        work(extension, state="upstream")
    assert cimage(extension).read_text() == BYPASSES["constant"]


def test_a_backup_that_somebody_changed_is_not_trusted(extension):
    work(extension)
    Path(Patch(str(extension)).backup).write_text(BYPASSES["constant"])
    with pytest.raises(RoopError):
        work(extension, state="upstream")
    assert cimage(extension).read_text() == render(0.7)


@pytest.mark.parametrize("threshold", [0, -1, 0.71, 1, 7, float("nan")])
def test_no_threshold_lets_more_through(extension, threshold):
    with pytest.raises(RoopError, match="threshold"):
        work(extension, threshold=threshold)
    assert cimage(extension).read_text() == ORIGINAL


def test_through_the_module(run_module, tmp_path):
    assert "cannot be read" in run_module("roop_nsfw_patch", path=str(tmp_path))["msg"]
    folder = tmp_path / "roop"
    (folder / "scripts").mkdir(parents=True)
    write(folder, BYPASSES["constant"])
    assert run_module("roop_nsfw_patch", path=str(folder), threshold=0.9)["failed"]
    for state in ("off", "disabled", "absent"):
        assert run_module("roop_nsfw_patch", path=str(folder), state=state)["failed"]
    for check in (True, False):
        result = run_module("roop_nsfw_patch", check=check, path=str(folder))
        assert (result["changed"], result["status"]) == (True, "bypassed")
    assert run_module("roop_nsfw_patch", path=str(folder))["changed"] is False

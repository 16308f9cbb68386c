"""What is on disk is told apart, repaired, hardened and brought back; nothing turns the check off."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import RoopError
from ansible_collections.sdops.webui.plugins.module_utils.roop import patch as patch_module
from ansible_collections.sdops.webui.plugins.module_utils.roop.hardened import render_hardened
from ansible_collections.sdops.webui.plugins.module_utils.roop.patch import (
    SafetyCheckPatch,
    classify_check,
    classify_swapper,
)
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
# ours too, in the shape that the extension's swapper has
SWAPPER = """import os
from scripts.cimage import convert_to_sd

MODEL = None


def getFaceSwapModel(path):
    global MODEL
    return MODEL or path


def swap_face(source_img, target_img, model=None, faces_index={0}):
    result_image = target_img
    converted = convert_to_sd(target_img)
    scale, fn = converted[0], converted[1]
    if model is not None and not scale:
        swapper = getFaceSwapModel(os.path.abspath(model))
        for number in faces_index:
            result_image = swapper.get(result_image, number, source_img)
    result_image.save(fn.name)
    return ImageResult(path=fn.name)
"""
OPEN = {
    "verdict dropped": SWAPPER.replace(" and not scale", ""),
    "verdict turned": SWAPPER.replace("not scale", "scale"),
    "or": SWAPPER.replace("is not None and not scale", "is not None or not scale"),
    "constant": SWAPPER.replace("converted[0], converted[1]", "False, converted[1]"),
    "set again": SWAPPER.replace("    if model", "    scale = False\n    if model"),
    "set inside": SWAPPER.replace("    scale, fn", "    converted[0] = False\n    scale, fn"),
    "the file": SWAPPER.replace("converted[0], converted[1]", "converted[1], converted[1]"),
    "not asked": SWAPPER.replace("convert_to_sd(target_img)", "[False, open('/dev/null')]"),
    "own check": SWAPPER.replace("from scripts.cimage import convert_to_sd", "def convert_to_sd(x): return [False, x]"),
    "other check": SWAPPER.replace("scripts.cimage", "scripts.mine"),
    "rebound": SWAPPER.replace("MODEL = None", "convert_to_sd = lambda x: [False, x]"),
    "before": SWAPPER.replace(
        "    converted", "    getFaceSwapModel(model).get(target_img, 0, source_img)\n    converted", 1
    ),
    "elsewhere": SWAPPER + "\n\ndef swap_all(a, b):\n    return getFaceSwapModel('x').get(a, b, 0)\n",
    "replaced": SWAPPER + "\n\ndef other(*a):\n    return a\n\n\nswap_face = other\n",
    "decorated": SWAPPER.replace("def swap_face", "@other\ndef swap_face"),
    "broken": "def swap_face(:",
    "another": "def swap(x):\n    return x\n",
}
CLOSED = {
    "upstream's shape": SWAPPER,
    "in one line": SWAPPER.replace(
        "converted = convert_to_sd(target_img)\n    scale, fn = converted[0], converted[1]",
        "scale, fn = convert_to_sd(target_img)",
    ),
    "alone": SWAPPER.replace("model is not None and not scale", "not scale"),
}
BYPASSES = {
    "constant": ORIGINAL.replace("any(seen)", "False"),
    "zero": ORIGINAL.replace("any(seen)", "0"),
    "early": ORIGINAL.replace("    seen = []\n", "    return (False, open('/dev/null'))\n    seen = []\n"),
    "nothing noted": ORIGINAL.replace('part["score"] > 0.7', "False"),
    "higher": ORIGINAL.replace("0.7", "1.1"),
    "not asked": ORIGINAL.replace("detect(img)", "[]"),
    "own detector": ORIGINAL.replace("from ifnude import detect\n", "def detect(img):\n    return []\n"),
    "edited": render_hardened(0.7).replace("blocked = True", "blocked = False"),
    "raised": render_hardened(0.7).replace("THRESHOLD = 0.7", "THRESHOLD = 7.7"),
    "marked": render_hardened(0.7).split("\n", 1)[0] + "\n" + ORIGINAL,
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
    monkeypatch.setattr(patch_module, "UPSTREAM_SHA256", (hashlib.sha256(ORIGINAL.encode()).hexdigest(),))


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    (tmp_path / "roop" / "scripts").mkdir(parents=True)
    write(tmp_path / "roop", ORIGINAL)
    (tmp_path / "roop" / "scripts" / "swapper.py").write_text(SWAPPER)
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
    return roop_nsfw_patch.apply_safety_check(Module(path, **params))


@pytest.mark.parametrize(("name", "text"), BYPASSES.items())
def test_a_bypassed_check_is_reported_and_repaired(extension, name, text):
    assert classify_check(text.encode()).status == "bypassed", name
    write(extension, text)
    planned = work(extension, check=True)
    assert planned["changed"] and planned["reason"] and cimage(extension).read_text() == text
    done = work(extension)
    assert done["status"] == "bypassed" and "repair" in done["actions"][0]
    assert cimage(extension).read_text() == render_hardened(0.7)
    assert not Path(SafetyCheckPatch(str(extension)).backup).exists()  # a bypassed one is not kept


@pytest.mark.parametrize(("name", "text"), UNKNOWN.items())
@pytest.mark.parametrize("state", ["hardened", "upstream"])
def test_what_is_unknown_is_left_alone(extension, name, text, state):
    write(extension, text)
    with pytest.raises(RoopError, match="left as it is"):
        work(extension, state=state)
    assert cimage(extension).read_bytes() == text.encode("latin-1")
    assert sorted(p.name for p in cimage(extension).parent.iterdir()) == ["cimage.py", "swapper.py"]


@pytest.mark.parametrize(("name", "text"), OPEN.items())
def test_a_swapper_without_a_check_is_reported(extension, name, text):
    (extension / "scripts" / "swapper.py").write_text(text)
    assert classify_swapper(text.encode()).status in ("bypassed", "unknown"), name
    with pytest.raises(RoopError, match=r"swapper\.py is (bypassed|unknown)"):
        work(extension)
    assert cimage(extension).read_text() == ORIGINAL


@pytest.mark.parametrize(("name", "text"), CLOSED.items())
def test_a_swapper_with_a_check_is_known(name, text):
    assert classify_swapper(text.encode()) == patch_module.CheckStatus("upstream"), name


def test_no_swapper_at_all(extension):
    (extension / "scripts" / "swapper.py").unlink()
    with pytest.raises(RoopError, match="cannot be read"):
        work(extension)


def test_what_a_former_version_wrote_is_no_bypass(extension, monkeypatch):
    text = render_hardened(0.5).replace("version 2", "version 1").replace("NAMES", "OTHERS")
    head, body = text.split("\n", 1)
    monkeypatch.setattr(
        patch_module, "PREVIOUS_SHA256", (hashlib.sha256(body.replace("0.5", "T", 1).encode()).hexdigest(),)
    )
    assert classify_check(text.encode()) == patch_module.CheckStatus("hardened", 0.5)
    assert classify_check(text.replace("blocked = True", "blocked = False").encode()).status == "bypassed"
    write(extension, text)
    assert work(extension)["actions"] == ["install the hardened check with threshold 0.7"]


@pytest.mark.parametrize("threshold", [1e-5, 0.7, 0.123456789])
def test_every_patched_threshold_is_recognised(threshold):
    assert classify_check(render_hardened(threshold).encode()) == patch_module.CheckStatus("hardened", threshold)


def test_hardened_and_restored(extension):
    cimage(extension).chmod(0o640)
    for check in (True, False):
        result = work(extension, check=check)
        assert (result["changed"], result["status"]) == (True, "upstream")
        assert "+" in result["diff"]["after"] or result["diff"]["after"] == render_hardened(0.7)
    assert not work(extension)["changed"] and not work(extension, check=True)["changed"]
    assert cimage(extension).stat().st_mode & 0o777 == 0o640
    stricter = work(extension, threshold=0.5)
    assert stricter["changed"] and "0.5" in stricter["actions"][0]
    assert classify_check(cimage(extension).read_bytes()).threshold == 0.5
    restored = work(extension, state="upstream")
    assert restored["changed"] and cimage(extension).read_text() == ORIGINAL
    assert not work(extension, state="upstream")["changed"]
    assert work(cimage(extension))["changed"]  # the file itself may be named


def test_the_original_from_git(extension):
    git = ["git", "-C", str(extension), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    write(extension, BYPASSES["constant"])
    assert work(extension, state="upstream")["actions"][-1] == "restore the original check"
    assert cimage(extension).read_text() == ORIGINAL


def test_an_original_that_is_nowhere(extension):
    write(extension, BYPASSES["constant"])
    with pytest.raises(RoopError, match="neither in its backup nor"):
        work(extension, state="upstream")
    assert cimage(extension).read_text() == BYPASSES["constant"]


def test_a_backup_that_somebody_changed_is_not_trusted(extension):
    work(extension)
    Path(SafetyCheckPatch(str(extension)).backup).write_text(BYPASSES["constant"])
    with pytest.raises(RoopError):
        work(extension, state="upstream")
    assert cimage(extension).read_text() == render_hardened(0.7)


@pytest.mark.parametrize("threshold", [0, -1, 0.71, 1, 7, float("nan")])
def test_no_threshold_lets_more_through(extension, threshold):
    with pytest.raises(RoopError, match="threshold"):
        work(extension, threshold=threshold)
    assert cimage(extension).read_text() == ORIGINAL


def test_through_the_module(run_module, tmp_path):
    assert "cannot be read" in run_module("roop_nsfw_patch", path=str(tmp_path))["msg"]
    folder = tmp_path / "roop"
    planned = run_module("roop_nsfw_patch", path=str(folder), check=True)  # the extension is not there yet
    assert planned["changed"] and "hardened" in planned["actions"][0]
    (folder / "scripts").mkdir(parents=True)
    write(folder, BYPASSES["constant"])
    (folder / "scripts" / "swapper.py").write_text(SWAPPER)
    assert run_module("roop_nsfw_patch", path=str(folder), threshold=0.9)["failed"]
    for state in ("off", "disabled", "absent"):
        assert run_module("roop_nsfw_patch", path=str(folder), state=state)["failed"]
    for check in (True, False):
        result = run_module("roop_nsfw_patch", check=check, path=str(folder))
        assert (result["changed"], result["status"]) == (True, "bypassed")
    assert run_module("roop_nsfw_patch", path=str(folder))["changed"] is False

"""The hardened check as roop's swapper.py uses it, over fakes of onnxruntime, numpy and ifnude."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.roop.hardened import render_hardened

NUMPY = """
import math
class Array:
    def __init__(self, rows, dtype): self.rows, self.dtype = rows, dtype
    @property
    def ndim(self): return 3 if isinstance(self.rows[0][0], list) else 2
    @property
    def shape(self): return (len(self.rows), len(self.rows[0]))
    def __getitem__(self, i): return self.rows[i]
    def all(self): return all(all(row) for row in self.rows)
int32, float32 = "int32", "float32"
def expand_dims(x, axis): return x
def isfinite(array): return Array([[math.isfinite(x) for x in row] for row in array.rows], "bool")
"""
RUNTIME = """
import threading, time
from numpy import Array
loaded, inside = [], []
class Named:
    def __init__(self, name): self.name = name
class InferenceSession:
    def __init__(self, path, providers):
        if "broken" in open(path).read(): raise ValueError("INVALID_PROTOBUF")
        loaded.append(path)
    def get_inputs(self): return [Named("image")]
    def get_outputs(self): return [Named(n) for n in ("boxes", "scores", "labels")]
    def run(self, names, feed):
        inside.append(1); assert len(inside) == 1, "two at once"
        time.sleep(0.01)
        inside.pop()
        found = feed["image"]
        if isinstance(found, Exception): raise found
        labels, scores = [n for n, _ in found] or [-1], [s for _, s in found] or [-1.0]
        return [Array([[[0, 0, 1, 1] for _ in scores]], "float32"), Array([scores], "float32"), Array([labels], "int32")]
"""
IFNUDE = {
    "__init__": "from .detector import detect\n",
    "detector": "import os\nmodel_path = os.path.expanduser('~/.ifnude/detector.onnx')\n"
    "assert os.path.exists(model_path), 'would be downloaded'\n"
    "classes = open(os.path.expanduser('~/.ifnude/classes')).read().split()\ndef detect(img): raise AssertionError('not ours')\n",
    "detector_utils": "def preprocess_image(img): return img, 1.0\n",
}
CLASSES = """EXPOSED_BELLY
EXPOSED_BUTTOCKS
EXPOSED_BREAST_F
EXPOSED_GENITALIA_F
EXPOSED_GENITALIA_M
EXPOSED_BREAST_M"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch):
    """The module cimage with its surroundings; ``home`` is where the detector's files lie."""
    site = tmp_path / "site"
    (site / "ifnude").mkdir(parents=True)
    (site / "numpy.py").write_text(NUMPY)
    (site / "onnxruntime.py").write_text(RUNTIME)
    for name, text in IFNUDE.items():
        (site / "ifnude" / f"{name}.py").write_text(text)
    home = tmp_path / "home" / ".ifnude"
    home.mkdir(parents=True)
    (home / "detector.onnx").write_text("good")
    (home / "classes").write_text(CLASSES)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.syspath_prepend(str(site))
    theirs = ("numpy", "onnxruntime", "ifnude")
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in theirs}

    def load(threshold: float = 0.7):
        path = tmp_path / "cimage.py"
        path.write_text(render_hardened(threshold))
        spec = importlib.util.spec_from_file_location("cimage_under_test", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.home = home
        return module

    yield load
    for name in list(sys.modules):
        if name.split(".")[0] in theirs:
            del sys.modules[name]
    sys.modules.update(saved)


def is_nsfw(module, image) -> bool:
    blocked, file = module.convert_to_sd(image)  # as swapper.py takes it apart
    assert file.name.endswith(".png") and os.access(file.name, os.W_OK)
    assert os.stat(file.name).st_mode & 0o077 == 0
    file.close()
    return blocked


def test_the_same_results_as_upstream(check):
    module = check()
    assert is_nsfw(module, [(1, 0.71)]) is True
    assert is_nsfw(module, [(1, 0.7)]) is False
    assert is_nsfw(module, [(0, 0.99)]) is False  # upstream leaves bellies out
    assert is_nsfw(module, [(0, 0.99), (1, 0.2), (1, 0.95)]) is True
    assert is_nsfw(module, []) is False


def test_stricter(check):
    module = check(0.5)
    assert is_nsfw(module, [(1, 0.51)]) is True and is_nsfw(module, [(1, 0.5)]) is False


def test_the_model_is_loaded_once_for_all_callers(check):
    module = check()
    threads = [threading.Thread(target=is_nsfw, args=(module, [(1, 0.1)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sys.modules["onnxruntime"].loaded) == 1


@pytest.mark.parametrize("name", ["detector.onnx", "classes"])
def test_without_the_detector_nothing_is_swapped_and_nothing_is_fetched(check, capfd, name):
    module = check()
    saved = (module.home / name).read_text()
    (module.home / name).unlink()
    assert is_nsfw(module, []) is True
    assert name in capfd.readouterr().err
    assert "ifnude" not in sys.modules  # which would have downloaded it
    (module.home / name).write_text(saved)
    assert is_nsfw(module, []) is False  # it needs no restart when the file comes


@pytest.mark.parametrize(
    "classes",
    [
        "\n".join(["EXPOSED_BELLY"] * 6),
        CLASSES.replace("EXPOSED_BREAST_F", "SHOES"),
        CLASSES + "\nEXPOSED_BELLY",
        CLASSES.replace("\nEXPOSED_BREAST_M", ""),
        "LAB_FAKE",
    ],
    ids=["all harmless", "one renamed", "one more", "one less", "others"],
)
def test_other_names_for_what_it_sees_block(check, capfd, classes):
    module = check()
    (module.home / "classes").write_text(classes)
    assert is_nsfw(module, []) is True
    assert "does not name what the detector tells apart" in capfd.readouterr().err


def test_a_broken_detector_blocks(check, capfd):
    module = check()
    (module.home / "detector.onnx").write_text("broken")
    assert is_nsfw(module, []) is True
    assert "INVALID_PROTOBUF" in capfd.readouterr().err


@pytest.mark.parametrize("answer", [ValueError("out of memory"), [(1, float("nan"))], [(7, 0.9)]])
def test_a_detector_that_fails_blocks(check, capfd, answer):
    module = check()
    assert is_nsfw(module, answer) is True
    assert "no face is swapped" in capfd.readouterr().err
    assert is_nsfw(module, []) is False


def test_a_blocked_image_is_reported(check, capfd):
    is_nsfw(check(), [(1, 0.9)])
    assert "left as it is" in capfd.readouterr().err


def test_old_results_are_removed(check, tmp_path):
    module = check()
    _, first = module.convert_to_sd([])
    _, second = module.convert_to_sd([])
    long_ago = time.time() - 2 * module.KEEP
    os.utime(first.name, (long_ago, long_ago))
    _, third = module.convert_to_sd([])
    left = {entry.name for entry in os.scandir(Path(third.name).parent)}
    assert left == {Path(second.name).name, Path(third.name).name}

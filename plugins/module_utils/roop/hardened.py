# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our ``scripts/cimage.py`` for the roop extension: same interface, a check that cannot fail open."""

from __future__ import annotations

HARDENED_HEADER = "# sdops.webui: hardened safety check, version 2, threshold "

# ``convert_to_sd(image)`` gives [blocked, a temporary PNG file object]; roop's swapper.py writes its result into that file.
HARDENED_CODE = '''\
"""The check that comes before a face swap. Made by sdops.webui; roop_nsfw_patch with state: upstream takes it back."""

import os
import sys
import tempfile
import threading
import time

THRESHOLD = %(threshold)s
KEEP = 3600  # seconds that results lie in the temporary directory
# what the detector tells apart: with other names in its file the label of an image could be taken for a harmless one
NAMES = {
    "EXPOSED_BELLY",
    "EXPOSED_BREAST_F",
    "EXPOSED_BREAST_M",
    "EXPOSED_BUTTOCKS",
    "EXPOSED_GENITALIA_F",
    "EXPOSED_GENITALIA_M",
}

_lock = threading.Lock()
_loaded = None


def _say(text):
    print("roop safety check: " + text, file=sys.stderr, flush=True)


def _load():
    """(session, classes, preparation), once. Raises when anything is missing."""
    global _loaded
    if _loaded is None:
        folder = os.path.join(os.path.expanduser("~"), ".ifnude")
        for name in ("detector.onnx", "classes"):
            if not os.path.isfile(os.path.join(folder, name)):
                raise RuntimeError("%%s is missing in %%s" %% (name, folder))
        import onnxruntime
        from ifnude import detector, detector_utils  # only now: without the files it would download them

        if len(set(detector.classes)) != len(detector.classes) or not set(detector.classes) >= NAMES:
            raise RuntimeError("the file classes in %%s does not name what the detector tells apart" %% folder)
        session = onnxruntime.InferenceSession(detector.model_path, providers=["CPUExecutionProvider"])
        _loaded = (session, detector.classes, detector_utils.preprocess_image)
    return _loaded


def _blocked(image):
    """Whether the detector sees what must not be swapped."""
    import numpy

    with _lock:
        session, classes, prepare = _load()
        pixels, _ = prepare(image)
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, {session.get_inputs()[0].name: numpy.expand_dims(pixels, axis=0)})
    labels = next(array for array in found if array.dtype == numpy.int32)
    scores = next(array for array in found if array.dtype == numpy.float32 and array.ndim == 2)
    if labels.shape != scores.shape or not numpy.isfinite(scores).all():
        raise RuntimeError("the detector gave no sensible answer")
    return any(
        score > THRESHOLD and classes[label] != "EXPOSED_BELLY" for label, score in zip(labels[0], scores[0]) if label >= 0
    )


def _file():
    """Where the result goes; old results are removed."""
    folder = os.path.join(tempfile.gettempdir(), "sdops-roop-%%d" %% os.getuid())
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.lstat(folder).st_uid != os.getuid():
        raise RuntimeError("%%s belongs to somebody else" %% folder)
    for entry in os.scandir(folder):
        try:
            if entry.is_file(follow_symlinks=False) and time.time() - entry.stat().st_mtime > KEEP:
                os.unlink(entry.path)
        except OSError:
            pass
    return tempfile.NamedTemporaryFile(delete=False, suffix=".png", dir=folder)


def convert_to_sd(img):
    try:
        blocked = bool(_blocked(img))
        if blocked:
            _say("the image was left as it is, because it shows what must not be swapped")
    except Exception as exc:
        blocked = True
        _say("no face is swapped, because the check does not work: %%s: %%s" %% (type(exc).__name__, exc))
    return [blocked, _file()]
'''


def render_hardened(threshold: float) -> str:
    """The whole file for a threshold, 0 < threshold <= 0.7."""
    text = (f"{threshold:.10f}").rstrip("0")  # never 1e-05
    return "{}{}\n{}".format(HARDENED_HEADER, text, HARDENED_CODE % {"threshold": text})

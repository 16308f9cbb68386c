"""A file under the name of another format: the message says what it is, and which name or step helps."""

from __future__ import annotations

import io
import zipfile

import numpy
import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan import file_formats
from ansible_collections.sdops.webui.plugins.module_utils.errors import LayoutError
from ansible_collections.sdops.webui.plugins.module_utils.models.layout import MODEL_KINDS, model_path
from safetensors.numpy import save

from .conftest import REAL, old_torch, tensor, text, torch_zip


def archive(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in names:
            bundle.writestr(name, save({"w": numpy.zeros(3, "float32")}))
    return packed.getvalue()


@pytest.mark.parametrize("extension", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
@pytest.mark.parametrize("size", [3, 100_000])
def test_a_safetensors_under_the_name_of_a_pickle(scan_error, extension, size):
    """Oracle: the safetensors library wrote it."""
    reason = scan_error(save({"w": numpy.zeros(size, "float32")}), "my lora" + extension)
    assert "it is a safetensors file under another name; set name to my lora.safetensors" in reason


@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_pickle_under_the_name_of_a_safetensors(scan_error, path):
    """Oracle: torch wrote them."""
    reason = scan_error(path.read_bytes(), "x.safetensors")
    assert "it is a pickle, as torch.save writes them" in reason
    assert "set name to x.ckpt" in reason and "allow_pickle" in reason


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x.pt", "x.bin"])
@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["my lora.safetensors"], "(my lora.safetensors)"),
        (["a/", "a/readme.txt", "a/lora.pt"], "(a/readme.txt, a/lora.pt)"),
        ([f"{n}.txt" for n in range(9)], "4.txt, ...)"),
        ([], "with nothing in it"),
        (["evil\x1b[2J.pt"], "(evil?[2J.pt)"),
    ],
)
def test_a_zip_of_a_model(scan_error, name, names, listed):
    reason = scan_error(archive(*names), name)
    assert "it is a zip archive" in reason and listed in reason
    assert "unpack it on the target" in reason and "file:///PATH" in reason


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"GGUF\3\0\0\0" + bytes(40), "a GGUF file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG image"),
        (b"%PDF-1.7\n" + bytes(40), "a PDF document"),
        (b"MZ\x90\0" + bytes(40), "a program for Windows"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "a 7z archive; unpack it on the target"),
        (b"Rar!\x1a\x07\1\0" + bytes(40), "a rar archive; unpack it on the target"),
    ],
)
@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_what_is_no_model_at_all(scan_error, head, message, name):
    assert message in scan_error(head, name)


@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_good_files_are_not_called_anything_else(path):
    assert file_formats.describe_misnamed_file(str(path), "x.pt", path.read_bytes()[:4096]) is None


@pytest.mark.parametrize("kind", sorted(MODEL_KINDS))
@pytest.mark.parametrize("name", ["lora.zip", "model.7Z", "x.tar.gz", "x.rar"])
def test_archives_are_known_by_name_before_they_come(kind, name):
    with pytest.raises(LayoutError, match="is an archive and no .*unpack it on the target.*file:///PATH"):
        model_path("/webui", kind, name)


def yolo(*imports: str) -> bytes:
    """A pickle as of a detector: a dict with a model of classes."""
    calls = b"".join(b"c" + name.replace(" ", "\n").encode() + b"\n)R0" for name in imports)
    return b"\x80\x02" + calls + b"}" + text("w") + tensor("0") + b"s."


DETECTORS = {
    "v8": ["ultralytics.nn.tasks DetectionModel", "torch.nn.modules.container Sequential", "__builtin__ getattr"],
    "v8 of old": ["ultralytics.yolo.utils IterableSimpleNamespace", "pathlib PosixPath", "__builtin__ set"],
    "v5": ["models.yolo DetectionModel", "models.common Conv", "torch.nn.modules.activation SiLU"],
    "v7": ["yolov7.models.yolo Model", "numpy.core.multiarray scalar"],
}


@pytest.mark.parametrize("imports", DETECTORS.values(), ids=DETECTORS)
def test_a_detector_of_yolo(scan_error, imports):
    for raw in (torch_zip(pickled=yolo(*imports)), old_torch(yolo(*imports))):
        reason = scan_error(raw, "face_yolov8n.pt")
        assert "would import" in reason
        assert "detector of YOLO" in reason and "trusted: true" in reason and "sha256" in reason


@pytest.mark.parametrize("evil", ["os system", "builtins eval", "posix system", "subprocess Popen", "__builtin__ exec"])
def test_no_message_recommends_trusting_what_runs_commands(scan_error, evil):
    raw = yolo(*DETECTORS["v8"], evil)
    masked = raw[:-1] + b"\x8c\x05posix\x8c\x06system\x93."  # by a protocol that torch does not use
    for pickled in (raw, masked):
        for whole in (torch_zip(pickled=pickled), old_torch(pickled)):
            reason = scan_error(whole, "face_yolov8n.pt")
            assert "would import" in reason and "trusted" not in reason

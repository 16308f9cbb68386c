"""Models for the doubles: small, but real in structure. The bytes come from a seed, so hashes are the same everywhere."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

NOTE = {"sdops": "lab stand-in, no trained weights"}


def safetensors(path: Path, mebibytes: int, seed: str) -> None:
    """A well-formed file of two half-precision tensors, ``mebibytes`` of data in all."""
    count = mebibytes * (1 << 20) // 4
    header: dict[str, Any] = {"__metadata__": NOTE}
    for i, name in enumerate(("first.weight", "second.weight")):
        header[name] = {"dtype": "F16", "shape": [count], "data_offsets": [i * count * 2, (i + 1) * count * 2]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(raw)) + raw)
        source = random.Random(seed)
        for _ in range(mebibytes):
            out.write(source.randbytes(1 << 20))


def torch_zip(path: Path, value: Any) -> None:
    """A file as torch.save lays it out (a zip with NAME/data.pkl and NAME/version), written without torch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as bundle:
        for name, data in (("data.pkl", pickle.dumps(value, protocol=2)), ("version", b"3\n")):
            bundle.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), data)


class Hostile:
    """Runs a command when it is unpickled: what the pickle policy is for."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch /tmp/sdops-lab-pickle-ran",)


def hub(root: Path) -> None:
    repos = {
        "lab-standins/tiny-sd15": ({}, {"v1-5-pruned-emaonly.safetensors": 24}),
        "lab-standins/tiny-vae": ({}, {"vae-ft-mse-840000-ema-pruned.safetensors": 3}),
        "lab-standins/gated": ({"gated": "manual", "grants": ["granted"]}, {"gated.safetensors": 1}),
    }
    for repo, (rules, files) in repos.items():
        directory = root / "huggingface" / repo
        for name, size in files.items():
            safetensors(directory / name, size, f"{repo}/{name}")
        (directory / "README.md").write_text(f"# {repo}\n\nA stand-in of the sdops lab: no trained weights.\n")
        (directory / "model_index.json").write_text(json.dumps({"_class_name": "LabStandIn", **NOTE}))
        about = {"commit": hashlib.sha1(repo.encode()).hexdigest(), "lfs": sorted(files), **rules}
        (directory / ".repo.json").write_text(json.dumps(about))


def _file(root: Path, number: int, name: str, stored: str, primary: bool, kind: str = "Model", **metadata: str) -> dict[str, Any]:
    data = (root / "civitai" / stored).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest().upper()
    return {
        "id": number,
        "name": name,
        "type": kind,
        "sizeKB": len(data) / 1024,
        "metadata": metadata,
        "pickleScanResult": "Success",
        "virusScanResult": "Success",
        "hashes": {"AutoV2": sha256[:10], "SHA256": sha256, "CRC32": f"{zlib.crc32(data):08X}"},
        "primary": primary,
        "_file": stored,
    }


def civitai(root: Path) -> None:
    base = root / "civitai"
    for stored, size in (("chillout-full.safetensors", 16), ("chillout-pruned.safetensors", 8), ("film.safetensors", 2), ("small.safetensors", 1)):
        safetensors(base / stored, size, stored)
    torch_zip(base / "bad.pt", OrderedDict(string_to_token=OrderedDict([("*", 265)]), name="bad_pictures", filler="x" * 20000))
    torch_zip(base / "hostile.pt", OrderedDict(x=Hostile()))

    def version(number: int, model: int, name: str, kind: str, files: list[dict[str, Any]], **rules: Any) -> dict[str, Any]:
        return {
            "id": number,
            "modelId": model,
            "name": "lab",
            "baseModel": "SD 1.5",
            "status": "Published",
            "availability": "Public",
            "model": {"name": name, "type": kind, "nsfw": False, "poi": False},
            "files": files,
            "_rules": rules,
        }

    def small(number: int) -> list[dict[str, Any]]:
        return [_file(root, number, f"lab-{number}.safetensors", "small.safetensors", True, format="SafeTensor", size="full", fp="fp16")]

    versions = [
        version(
            11745,
            6424,
            "ChilloutMix (lab stand-in)",
            "Checkpoint",
            [
                _file(root, 101, "chilloutmix_NiPrunedFp16Fix.safetensors", "chillout-pruned.safetensors", True, format="SafeTensor", size="pruned", fp="fp16"),
                _file(root, 102, "chilloutmix_NiPrunedFp32Fix.safetensors", "chillout-full.safetensors", False, format="SafeTensor", size="full", fp="fp32"),
            ],
        ),
        version(112969, 105000, "FilmVelvia3 (lab stand-in)", "LORA", [_file(root, 103, "FilmVelvia3.safetensors", "film.safetensors", True, format="SafeTensor")]),
        version(66043, 60000, "bad_pictures (lab stand-in)", "TextualInversion", [_file(root, 104, "bad_pictures.pt", "bad.pt", True, format="PickleTensor")]),
        version(66666, 66600, "hostile (lab)", "TextualInversion", [_file(root, 105, "hostile.pt", "hostile.pt", True, format="PickleTensor")]),
        version(70001, 70000, "login (lab)", "LORA", small(201), login=True),
        version(70002, 70000, "early (lab)", "LORA", small(202), early_access="2099-01-01T00:00:00.000Z"),
        version(70003, 70003, "archived (lab)", "LORA", small(203), archived=True),
        version(70004, 70004, "deleted (lab)", "LORA", small(204), deleted=True),
        version(70005, 70005, "disabled (lab)", "LORA", small(205), downloads_disabled=True),
    ]
    (base / "catalog.json").write_text(json.dumps({"versions": {str(v["id"]): v for v in versions}}, indent=1))

"""Content of the HuggingFace and Civitai fakes: small files that are real in structure, from fixed seeds.

The weights are noise. Whoever loads one gets a well-formed file, and a picture of nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import sys
import tempfile
import types
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from . import Builder, fingerprint, replace_tree, write_atomic
from .wheels import zip_bytes

NOTE = "lab fake of sdops.webui: noise, no trained weights"
BITS = {"F16": 16, "F32": 32}
CLIP_WIDTH = 768  # of Stable Diffusion 1.x: embeddings of another width are not loaded
# access of these is for tests only; they open nothing but the lab
HUB_TOKENS = {
    "hf_lab_granted": {"name": "lab-granted", "grants": ["lab-fakes/gated", "lab-fakes/private"]},
    "hf_lab_ungranted": {"name": "lab-ungranted", "grants": []},
    # fine-grained, without the right to read public gated repositories
    "hf_lab_narrow": {"name": "lab-narrow", "grants": ["lab-fakes/gated"], "narrow": True},
}
CIVITAI_TOKENS = {
    "lab_civitai_member": {"name": "lab-member", "grants": [], "bought": []},
    "lab_civitai_buyer": {"name": "lab-buyer", "grants": [70005], "bought": [70001]},
    "lab_civitai_banned": {"name": "lab-banned", "grants": [], "bought": [], "blacklisted": True},
    "lab_civitai_fp32": {"name": "lab-fp32", "grants": [], "bought": [], "prefers": {"size": "full", "fp": "fp32"}},
}
FAR_AWAY = "2099-01-01T00:00:00.000Z"

# file names that somebody's code will not expect
HUB_NAMES = (
    "sub dir/a+b & c#1? 100%.safetensors",
    "名前 ünïcode.safetensors",
    "emoji 🎨.safetensors",
    "quote\"d' one.safetensors",
    "l" * 230 + ".safetensors",
)
CIVITAI_NAMES = {
    71001: "sub/dir/slash.safetensors",
    71002: "../../../escape.safetensors",
    71003: "电影 Ünïcode.safetensors",
    71004: 'quoted "name" it\'s.safetensors',
    71005: "emoji 🎨🖌️.safetensors",
    71006: "n" * 288 + ".safetensors",
    71007: "line\r\nX-Injected: yes.safetensors",
    71008: "..\\..\\windows.safetensors",
}

Tensors = list[tuple[str, str, tuple[int, ...]]]


# --- file formats


def safetensors_bytes(seed: str, tensors: Tensors, **metadata: str) -> bytes:
    """A safetensors file: header length, JSON header padded to 8 bytes, then noise for ``tensors`` (name, dtype, shape)."""
    header: dict[str, Any] = {"__metadata__": {"lab": NOTE, **metadata}}
    offset = 0
    for name, dtype, shape in tensors:
        size = BITS[dtype] // 8
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + hashlib.shake_256(f"sdops lab {seed}".encode()).digest(offset)


def torch_zip_bytes(name: str, pickled: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """A file as torch.save writes it since 1.6: a stored zip with NAME/data.pkl, NAME/version and NAME/data/N."""
    numbers = {f"{name}/data/{key}": data for key, data in (storages or {}).items()}
    return zip_bytes({f"{name}/data.pkl": pickled, f"{name}/version": b"3\n", **numbers}, store=True)


def embedding_bytes(name: str, vectors: int = 2, width: int = CLIP_WIDTH) -> bytes:
    """A textual inversion with one real tensor of shape (vectors, width), pickled as torch does it, without torch."""

    def rebuild(*_: Any) -> None:
        """Stands for torch._utils._rebuild_tensor_v2 while pickling: only its name is written."""

    class FloatStorage:
        """Stands for torch.FloatStorage, likewise."""

    class Storage:
        """Is written as a persistent id."""

    class Tensor:
        def __reduce__(self) -> Any:
            return rebuild, (Storage(), 0, (vectors, width), (width, 1), False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", FloatStorage, "0", "cpu", vectors * width) if isinstance(value, Storage) else None

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, rebuild  # type: ignore[attr-defined]
    value = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": Tensor()},
        "name": name,
        "step": 0,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
        "lab": NOTE,
    }
    out = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        Pickler(out, protocol=2).dump(value)
    noise = hashlib.shake_256(f"sdops lab {name}".encode()).digest(vectors * width)
    numbers = struct.pack(f"<{vectors * width}f", *(byte / 255 - 0.5 for byte in noise))
    return torch_zip_bytes(name, out.getvalue(), {"0": numbers})


class _RunsCommand:
    """Pickles as a call of os.system. The command leaves a mark, so that a test can prove that nobody loaded the file."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


def malicious_bytes(name: str) -> bytes:
    """An embedding file that runs ``touch`` when it is unpickled: what the pickle scan must stop."""
    return torch_zip_bytes(
        name, _dump({"string_to_param": _RunsCommand("touch /tmp/sdops-lab-malicious-pickle-ran"), "name": name})
    )


def _dump(value: Any) -> bytes:
    out = io.BytesIO()
    pickle.Pickler(out, protocol=2).dump(value)
    return out.getvalue()


def checkpoint_tensors(mebibytes: int, dtype: str) -> Tensors:
    """Names as in a Stable Diffusion 1.x checkpoint; ``mebibytes`` in all, in five tensors."""
    names = (
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
        "first_stage_model.decoder.conv_in.weight",
        "first_stage_model.encoder.conv_in.weight",
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.out.2.weight",
    )
    width = BITS[dtype] // 8
    rows = mebibytes * (1 << 20) // width // CLIP_WIDTH // len(names)
    return [(name, dtype, (rows, CLIP_WIDTH)) for name in names]


def vae_tensors(mebibytes: int) -> Tensors:
    rows = mebibytes * (1 << 20) // 4 // 512 // 3
    return [
        (name, "F32", (rows, 512)) for name in ("decoder.conv_in.weight", "encoder.conv_in.weight", "quant_conv.weight")
    ]


def lora_tensors(mebibytes: int, rank: int = 16) -> Tensors:
    """Pairs of down and up matrices, with names as trainers write them."""
    columns = mebibytes * (1 << 20) // 2 // (2 * 4) // rank
    pairs: Tensors = []
    for block in range(4):
        base = f"lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn1_to_q"
        pairs += [
            (f"{base}.lora_down.weight", "F16", (rank, columns)),
            (f"{base}.lora_up.weight", "F16", (columns, rank)),
        ]
    return pairs


def tiny_tensors() -> Tensors:
    """16 KiB with the names of a LoRA, for files that are about something else."""
    base = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    return [(f"{base}.lora_down.weight", "F16", (4, 1024)), (f"{base}.lora_up.weight", "F16", (1024, 4))]


def gguf_bytes(seed: str) -> bytes:
    """A GGUF file of version 3 without tensors, and noise behind it."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + hashlib.shake_256(f"sdops lab {seed}".encode()).digest(16384)


# --- HuggingFace


def build_hub(builder: Builder) -> dict[str, Any]:
    """content/huggingface; returns {repository: {"commit", "files": {path: {"sha256", "size"}}}}."""
    target = builder.content / "huggingface"
    return builder.part("huggingface", fingerprint(Path(__file__)), [target / "index.json"], lambda: _make_hub(target))


def _hub_content() -> dict[str, tuple[dict[str, Any], dict[str, bytes]]]:
    def readme(title: str) -> bytes:
        return f"# {title}\n\nA lab fake of the sdops.webui lab: the weights are noise.\n".encode()

    small = {"_class_name": "StableDiffusionPipeline", "_lab": NOTE}
    return {
        "lab-fakes/tiny-sd15": (
            {},
            {
                "README.md": readme("tiny-sd15"),
                "model_index.json": json.dumps(small, indent=2).encode() + b"\n",
                "v1-inference.yaml": b"# lab fake of a model config\nmodel:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n",
                "v1-5-pruned-emaonly.safetensors": safetensors_bytes("tiny-sd15", checkpoint_tensors(24, "F16")),
                "vae/config.json": json.dumps({"_class_name": "AutoencoderKL", "_lab": NOTE}).encode(),
            },
        ),
        "lab-fakes/tiny-vae": (
            {},
            {
                "README.md": readme("tiny-vae"),
                "vae-ft-mse-840000-ema-pruned.safetensors": safetensors_bytes("tiny-vae", vae_tensors(3)),
            },
        ),
        "s0md3v/nudity-checker": (
            {},
            {
                "README.md": readme("nudity-checker"),
                # the names that the real one has, on which the hardened check insists
                "classes": b"EXPOSED_BELLY\nEXPOSED_BUTTOCKS\nEXPOSED_BREAST_F\nEXPOSED_GENITALIA_F\nEXPOSED_GENITALIA_M\n"
                b"EXPOSED_BREAST_M",
                # a model of no layers: version, producer, a graph that has a name only
                "detector.onnx": b"\x08\x07\x12\x09sdops lab\x3a\x06\x12\x04fake",
            },
        ),
        "lab-fakes/gated": (
            {"gated": "manual"},
            {
                "README.md": readme("gated"),
                "gated.safetensors": safetensors_bytes("gated", checkpoint_tensors(1, "F16")),
            },
        ),
        "lab-fakes/private": (
            {"private": True},
            {
                "README.md": readme("private"),
                "private.safetensors": safetensors_bytes("private", checkpoint_tensors(1, "F16")),
            },
        ),
        "lab-fakes/names": (
            {},
            {name: safetensors_bytes(name, tiny_tensors()) for name in HUB_NAMES},
        ),
        "lab-fakes/disabled": ({"disabled": True}, {"README.md": readme("disabled")}),
    }


def _make_hub(target: Path) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {
        "tokens": HUB_TOKENS,
        "renamed": {"lab-fakes/tiny-sd15-old": "lab-fakes/tiny-sd15"},
        "repos": {},
    }
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        new = Path(scratch) / "huggingface"
        for name, (rules, files) in _hub_content().items():
            entries = {}
            for path, data in sorted(files.items()):
                write_atomic(new / "files" / name / path, data)
                sha256 = hashlib.sha256(data).hexdigest()
                lfs = path.endswith((".safetensors", ".ckpt", ".pt", ".bin"))
                pointer = (
                    f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
                )
                blob = pointer if lfs else data
                oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
                entries[path] = {"size": len(data), "oid": oid, "sha256": sha256, "lfs": lfs}
            commit = hashlib.sha1(json.dumps([name, entries], sort_keys=True).encode()).hexdigest()
            index["repos"][name] = {**rules, "refs": {"main": commit}, "commits": {commit: entries}}
            summary[name] = {"commit": commit, "files": {path: _short(entry) for path, entry in entries.items()}}
        write_atomic(new / "index.json", json.dumps(index, indent=1).encode())
        replace_tree(new, target)
    return summary


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    return {"sha256": entry["sha256"], "size": entry["size"]}


# --- Civitai


def build_civitai(builder: Builder) -> dict[str, Any]:
    """content/civitai; returns {version id: [{"id", "name", "sha256", "size"}]}."""
    target = builder.content / "civitai"
    return builder.part("civitai", fingerprint(Path(__file__)), [target / "index.json"], lambda: _make_civitai(target))


def hashes(data: bytes) -> dict[str, str]:
    """The hash table of a file as the API shows it, upper case (without BLAKE3, which the standard library lacks)."""
    sha256 = hashlib.sha256(data).hexdigest().upper()
    table = {
        # the hash of early WebUI versions: 64 KiB from the first mebibyte on
        "AutoV1": hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8].upper(),
        "AutoV2": sha256[:10],
        "SHA256": sha256,
        "CRC32": f"{zlib.crc32(data):08X}",
    }
    if data[8:9] == b"{":
        start = 8 + struct.unpack("<Q", data[:8])[0]
        table["AutoV3"] = hashlib.sha256(data[start:]).hexdigest()[:12].upper()
    return table


def _file(
    number: int, name: str, data: bytes, kind: str = "Model", scan: str = "Success", **metadata: str
) -> tuple[dict[str, Any], bytes]:
    entry = {
        "id": number,
        "name": name,
        "type": kind,
        "sizeKB": round(len(data) / 1024, 2),
        "metadata": metadata,
        "pickleScanResult": scan,
        "pickleScanMessage": "No Pickle imports" if scan == "Success" else "Dangerous import: posix.system",
        "virusScanResult": scan,
        "virusScanMessage": None,
        "scannedAt": "2026-01-01T00:00:00.000Z",
        "hashes": hashes(data),
    }
    return entry, data


def _version(
    number: int, name: str, files: Iterable[tuple[dict[str, Any], bytes]], words: Iterable[str] = (), **lab: Any
) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "baseModel": "SD 1.5",
        "baseModelType": "Standard",
        "nsfwLevel": 1,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "publishedAt": "2026-01-01T00:00:00.000Z",
        "uploadType": "Created",
        "trainedWords": list(words),
        "trainingStatus": None,
        "trainingDetails": None,
        "description": "A lab fake: the weights are noise.",
        "stats": {"downloadCount": 1, "thumbsUpCount": 0},
        "files": list(files),
        "lab": {"status": "Published", **lab},
    }


def _civitai_content() -> list[tuple[int, str, str, list[dict[str, Any]]]]:
    """(model id, name, type, versions). Ids, names and file names of the first three are those of the tutorial's models."""
    safe, tiny = {"format": "SafeTensor"}, checkpoint_tensors(1, "F16")

    def checkpoint(seed: str, number: int) -> tuple[dict[str, Any], bytes]:
        return _file(number, f"{seed}.safetensors", safetensors_bytes(seed, tiny), **safe, size="pruned", fp="fp16")

    chillout = [
        _file(
            11745001, "chilloutmix_NiPrunedFp32Fix.safetensors",
            safetensors_bytes("chilloutmix fp32", checkpoint_tensors(16, "F32")), **safe, size="full", fp="fp32",
        ),
        _file(
            11745002, "chilloutmix_NiPrunedFp16Fix.safetensors",
            safetensors_bytes("chilloutmix fp16", checkpoint_tensors(8, "F16")), **safe, size="pruned", fp="fp16",
        ),
        _file(11745003, "chilloutmix.yaml", b"# lab fake of a model config\nmodel: {}\n", "Config", format="Other"),
    ]  # fmt: skip
    film = [
        _file(
            112969001,
            "FilmVelvia3.safetensors",
            safetensors_bytes("FilmVelvia3", lora_tensors(2), ss_network_dim="16"),
            **safe,
        )
    ]
    bad = [_file(66043001, "bad_pictures.pt", embedding_bytes("bad_pictures"), format="PickleTensor")]
    danger = [_file(66666001, "malicious.pt", malicious_bytes("malicious"), scan="Danger", format="PickleTensor")]

    def tiny_lora(number: int, name: str, changed: dict[str, Any] | None = None) -> tuple[dict[str, Any], bytes]:
        entry, data = _file(number, name, safetensors_bytes(f"lora {number}", tiny_tensors()), **safe)
        return {**entry, **(changed or {})}, data

    def hashed(number: int, true_hashes: Iterable[str] = (), **other: str) -> tuple[dict[str, Any], bytes]:
        """A file whose hashes in the API are wrong, except ``true_hashes``."""
        entry, data = tiny_lora(number, f"hashes-{number}.safetensors")
        table = {name: value for name, value in entry["hashes"].items() if name in true_hashes}
        return {**entry, "hashes": {**table, **other}}, data

    pending = {
        "hashes": {}, "pickleScanResult": "Pending", "pickleScanMessage": None, "virusScanResult": "Pending", "scannedAt": None,
    }  # fmt: skip
    quants = [
        _file(
            71021000 + number, f"tiny-{quant}.gguf", gguf_bytes(quant),
            format="GGUF", size="full", fp="fp16", quantType=quant,
        )
        for number, quant in enumerate(("Q8_0", "Q4_K_M"), 1)
    ]  # fmt: skip
    first_a_zip = [
        _file(71022001, "training.zip", zip_bytes({"a.txt": b"lab fake"}, store=True), "Training Data", format="Other"),
        tiny_lora(71022002, "behind-the-zip.safetensors"),
    ]
    return [
        (6424, "ChilloutMix (lab fake)", "Checkpoint", [_version(11745, "Ni Pruned Fp32 Fix", chillout)]),
        (99001, "Film Velvia (lab fake)", "LORA", [_version(112969, "v3.0", film)]),
        (99002, "Bad Pictures (lab fake)", "TextualInversion", [_version(66043, "v1.0", bad, ["bad_pictures"])]),
        (99003, "Malicious (lab fake)", "TextualInversion", [_version(66666, "v1.0", danger, ["malicious"])]),
        (
            99004,
            "Awkward (lab fake)",
            "Checkpoint",
            [
                _version(70001, "early access", [checkpoint("early", 70001001)], early_access_until=FAR_AWAY),
                _version(70002, "login required", [checkpoint("login", 70002001)], require_auth=True),
                _version(70004, "deleted", [checkpoint("deleted", 70004001)], status="Deleted"),
                _version(70005, "grant only", [checkpoint("grant", 70005001)], grant_only=True),
                _version(70006, "downloads disabled", [checkpoint("disabled", 70006001)], downloads_disabled=True),
            ],
        ),
        (99005, "Archived (lab fake)", "Checkpoint", [_version(70003, "archived", [checkpoint("archived", 70003001)], status="Archived")]),
        (99010, "Names (lab fake)", "LORA", [_version(number, f"name {number}", [tiny_lora(number * 1000 + 1, name)]) for number, name in CIVITAI_NAMES.items()]),
        (
            99011,
            "Hashes (lab fake)",
            "LORA",
            [
                _version(71011, "no hashes", [hashed(71011001)]),
                _version(71012, "wrong hash", [hashed(71012001, ["AutoV2", "CRC32"], SHA256="0" * 63 + "1")]),
                _version(71013, "pending", [tiny_lora(71013001, "pending.safetensors", pending)]),
                _version(71014, "no SHA256", [hashed(71014001, ["AutoV2", "AutoV3", "CRC32"])]),
                _version(71015, "wrong short hash", [hashed(71015001, ["CRC32"], AutoV2="00000BAD00")]),
            ],
        ),
        (
            99012,
            "Several files (lab fake)",
            "LORA",
            [
                _version(71021, "GGUF", quants, broken_filters=True),
                _version(71022, "a zip comes first", first_a_zip),
            ],
        ),
        (99013, "Other storage (lab fake)", "LORA", [_version(71031, "b2", [tiny_lora(71031001, "from-b2.safetensors")], storage="b2")]),
    ]  # fmt: skip


def _make_civitai(target: Path) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"tokens": CIVITAI_TOKENS, "models": []}
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        new = Path(scratch) / "civitai"
        for number, name, kind, versions in _civitai_content():
            for version in versions:
                listed = summary[str(version["id"])] = []
                for entry, data in version["files"]:
                    write_atomic(new / "files" / str(entry["id"]), data)
                    sha256 = hashlib.sha256(data).hexdigest()
                    listed.append({"id": entry["id"], "name": entry["name"], "sha256": sha256, "size": len(data)})
                version["files"] = [entry for entry, _data in version["files"]]
            index["models"].append(
                {
                    "id": number,
                    "name": name,
                    "description": "A lab fake.",
                    "type": kind,
                    "nsfw": False,
                    "poi": False,
                    "tags": ["lab-fake"],
                    "creator": {"id": 1, "username": "lab-fakes"},
                    "modelVersions": versions,
                }
            )
        write_atomic(new / "index.json", json.dumps(index, indent=1).encode())
        shutil.rmtree(target.with_name("civitai.old"), ignore_errors=True)
        replace_tree(new, target)
    return summary

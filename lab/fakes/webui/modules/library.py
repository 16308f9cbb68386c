"""Files on disk: checkpoints, VAEs, LoRAs, embeddings and the cache of their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import urllib.request
from typing import Any, Iterator

from modules import errors, shared, weights
from modules.paths_internal import data_path, default_sd_model_file, models_path

model_dir = os.path.abspath(os.path.join(models_path, "Stable-diffusion"))
vae_dir = os.path.abspath(os.path.join(models_path, "VAE"))
_block = 1 << 20


def natural_key(text: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", text.lower())]


def walk(directory: str | None, extensions: tuple) -> Iterator[str]:
    """Files below ``directory`` with one of ``extensions``, links to directories followed, in natural order."""
    if not directory or not os.path.isdir(directory):
        return
    hidden_too = shared.opts.list_hidden_files
    for parent, _, names in sorted(os.walk(directory, followlinks=True), key=lambda item: natural_key(item[0])):
        for name in sorted(names, key=natural_key):
            path = os.path.join(parent, name)
            if os.path.splitext(name)[1].lower() not in extensions:
                continue
            if not hidden_too and "/." in path[len(directory) :]:
                continue
            if os.path.islink(path) and not os.path.exists(path):
                print(f"Skipping broken symlink: {path}")
                continue
            yield path


class HashCache:
    """sha256 of files by title, trusted while the file is not newer (as in the original, size does not count)."""

    def __init__(self) -> None:
        folder = os.environ.get("SD_WEBUI_CACHE_DIR", os.path.join(data_path, "cache"))
        self.path = os.path.join(folder, "hashes.json")
        self._lock = threading.Lock()
        try:
            with open(self.path, encoding="utf8") as file:
                self._data: dict[str, dict] = json.load(file)
        except (OSError, ValueError):
            self._data = {}

    def cached(self, path: str, title: str) -> str | None:
        entry = self._data.get(title)
        try:
            return None if entry is None or os.path.getmtime(path) > entry["mtime"] else entry["sha256"]
        except OSError:
            return None

    def sha256(self, path: str, title: str, body_only: bool = False) -> str | None:
        """The hash, calculated and remembered when needed; None with --no-hashing.

        ``body_only`` leaves out the header of a safetensors file, which is how LoRA hashes are made.
        """
        known = self.cached(path, title)
        if known is not None:
            return known
        if shared.cmd_opts.no_hashing:
            return None
        digest = file_sha256(path, body_only)
        print(f"Calculating sha256 for {path}: {digest}")
        with self._lock:
            self._data[title] = {"mtime": os.path.getmtime(path), "sha256": digest}
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            temporary = f"{self.path}.{os.getpid()}"
            with open(temporary, "w", encoding="utf8") as file:
                json.dump(self._data, file, indent=4)
            os.replace(temporary, self.path)
        return digest


def file_sha256(path: str, body_only: bool = False) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if body_only:
            file.seek(int.from_bytes(file.read(8), "little") + 8)
        for block in iter(lambda: file.read(_block), b""):
            digest.update(block)
    return digest.hexdigest()


hashes = HashCache()


class CheckpointInfo:
    """A checkpoint file under all the names by which a setting or request may call it."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        path = os.path.abspath(filename)
        name = os.path.basename(filename)
        for root in (shared.cmd_opts.ckpt_dir and os.path.abspath(shared.cmd_opts.ckpt_dir), model_dir):
            if root and path.startswith(root):
                name = path[len(root) :].lstrip("/")
                break
        self.name = name
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(name.replace("/", "_"))[0]
        self.metadata: dict[str, Any] = {}
        if filename.lower().endswith(".safetensors"):
            try:
                self.metadata = weights.safetensors_metadata(filename)
            except Exception as exc:
                errors.display(exc, f"reading metadata for {filename}")
        self.sha256 = hashes.cached(filename, self._cache_title)

    @property
    def _cache_title(self) -> str:
        return f"checkpoint/{self.name}"

    @property
    def shorthash(self) -> str | None:
        return self.sha256[:10] if self.sha256 else None

    @property
    def title(self) -> str:
        return f"{self.name} [{self.shorthash}]" if self.shorthash else self.name

    @property
    def ids(self) -> list[str]:
        names = [self.model_name, self.title, self.name, self.name_for_extra]
        if self.sha256:
            names += [self.sha256[:10], self.sha256, f"{self.name_for_extra} [{self.shorthash}]"]
        return names

    @property
    def config(self) -> str | None:
        sidecar = os.path.splitext(self.filename)[0] + ".yaml"
        return sidecar if os.path.exists(sidecar) else None

    def calculate_shorthash(self) -> str | None:
        self.sha256 = hashes.sha256(self.filename, self._cache_title) or self.sha256
        return self.shorthash


class Checkpoints:
    def __init__(self) -> None:
        self.all: list[CheckpointInfo] = []

    def find(self, name: Any) -> CheckpointInfo | None:
        """The checkpoint called exactly so (title, file name with or without extension, short or full hash)."""
        return next((info for info in reversed(self.all) if name in info.ids), None) if name else None

    def refresh(self) -> None:
        opts = shared.cmd_opts
        default_missing = opts.ckpt == default_sd_model_file and not os.path.exists(opts.ckpt)
        found: list[str] = []
        places = [opts.ckpt_dir] if opts.ckpt_dir and opts.ckpt_dir != model_dir else []
        for place in places + [model_dir]:
            for path in walk(place, (".ckpt", ".safetensors")):
                if not path.endswith((".vae.ckpt", ".vae.safetensors")) and path not in found:
                    found.append(path)
        if not found and default_missing and not opts.no_download_sd_model:
            found += _download_default(places[0] if places else model_dir)
        infos = []
        if os.path.exists(opts.ckpt):
            infos.append(CheckpointInfo(opts.ckpt))
            shared.opts.data["sd_model_checkpoint"] = infos[0].title
        elif opts.ckpt != default_sd_model_file:
            print(f"Checkpoint in --ckpt argument not found: {opts.ckpt}", file=sys.stderr)
        known = {info.filename: info for info in self.all}
        for path in found:
            info = CheckpointInfo(path)
            # the loaded model holds its info: the same file keeps the same object
            old = known.get(path)
            infos.append(old if old is not None and old.sha256 == info.sha256 else info)
        self.all = infos

    def select(self) -> CheckpointInfo:
        """The checkpoint of the settings, else the first one; FileNotFoundError when there is none."""
        selected = shared.opts.sd_model_checkpoint
        info = self.find(selected)
        if info is not None:
            return info
        if not self.all:
            lines = ["No checkpoints found. When searching for checkpoints, looked at:"]
            lines += [f" - file {os.path.abspath(shared.cmd_opts.ckpt)}", f" - directory {model_dir}"]
            if shared.cmd_opts.ckpt_dir is not None:
                lines.append(f" - directory {os.path.abspath(shared.cmd_opts.ckpt_dir)}")
            text = "Can't run without a checkpoint. Find and place a .ckpt or .safetensors file into any of those locations."
            raise FileNotFoundError("\n".join(lines) + text)
        if selected is not None:
            print(f"Checkpoint {selected} not found; loading fallback {self.all[0].title}", file=sys.stderr)
        return self.all[0]


def _download_default(directory: str) -> list[str]:
    """What the real program tries when it has no checkpoint; the address is dead, and a failure is passed over."""
    url = f"{shared.hf_endpoint}/runwayml/stable-diffusion-v1-5/resolve/main/v1-5-pruned-emaonly.safetensors"
    path = os.path.join(directory, "v1-5-pruned-emaonly.safetensors")
    print(f'Downloading: "{url}" to {path}\n')
    try:
        os.makedirs(directory, exist_ok=True)
        with urllib.request.urlopen(url, timeout=20) as answer, open(path + ".part", "wb") as file:
            for block in iter(lambda: answer.read(_block), b""):
                file.write(block)
        if file_sha256(path + ".part") != "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa":
            raise ValueError("the hash of the downloaded file is wrong")
        os.replace(path + ".part", path)
        return [path]
    except Exception:
        if os.path.exists(path + ".part"):
            os.remove(path + ".part")
        return []


class Vaes:
    """File name -> path of every VAE: those in models/VAE and --vae-dir, and ``*.vae.*`` next to the checkpoints."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {}

    def refresh(self) -> None:
        found = {}
        extensions = (".ckpt", ".pt", ".safetensors")
        for place in (model_dir, shared.cmd_opts.ckpt_dir):
            for path in walk(place, extensions):
                if os.path.splitext(os.path.splitext(path)[0])[1] == ".vae":
                    found[os.path.basename(path)] = path
        for place in (vae_dir, shared.cmd_opts.vae_dir):
            for path in walk(place, extensions):
                found[os.path.basename(path)] = path
        self.all = dict(sorted(found.items(), key=lambda item: natural_key(item[0])))

    def sidecar_of(self, checkpoint: str) -> str | None:
        start = os.path.basename(checkpoint).rsplit(".", 1)[0]
        return next((path for path in self.all.values() if os.path.basename(path).startswith(start)), None)


class Lora:
    def __init__(self, path: str) -> None:
        self.filename = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.is_safetensors = path.lower().endswith(".safetensors")
        self.metadata: dict[str, Any] = {}
        if self.is_safetensors:
            try:
                self.metadata = weights.safetensors_metadata(path)
            except Exception as exc:
                errors.display(exc, f"reading lora {path}")
        self.alias = self.metadata.get("ss_output_name", self.name)

    def shorthash(self) -> str:
        known = self.metadata.get("sshs_model_hash")
        return (known or hashes.sha256(self.filename, f"lora/{self.name}", self.is_safetensors) or "")[:12]


class Loras:
    def __init__(self) -> None:
        self.all: dict[str, Lora] = {}

    def refresh(self) -> None:
        os.makedirs(shared.cmd_opts.lora_dir, exist_ok=True)
        found = {}
        for place in (shared.cmd_opts.lora_dir, shared.cmd_opts.lyco_dir_backcompat):
            for path in walk(place, (".pt", ".ckpt", ".safetensors")):
                lora = Lora(path)
                found[lora.name] = lora
        self.all = found

    def find(self, name: str) -> Lora | None:
        return self.all.get(name) or next((lora for lora in self.all.values() if lora.alias == name), None)


class Embeddings:
    """Textual inversions. They exist only for a loaded model, whose width (if it has one) they must have."""

    def __init__(self) -> None:
        self.loaded: dict[str, dict] = {}
        self.skipped: dict[str, dict] = {}
        self.paths: dict[str, str] = {}

    def refresh(self, width: int | None) -> None:
        loaded, skipped, paths = {}, {}, {}
        for path in walk(shared.cmd_opts.embeddings_dir, (".pt", ".bin", ".safetensors")):
            name = os.path.splitext(os.path.basename(path))[0]
            if os.path.getsize(path) == 0:
                continue
            try:
                entry = weights.read_embedding(path)
            except Exception:
                errors.report(f"Error loading embedding {os.path.basename(path)}", exc_info=True)
                continue
            (loaded if width in (None, entry["shape"]) else skipped)[name] = entry
            paths[name] = path
        self.loaded = dict(sorted(loaded.items(), key=lambda item: item[0].lower()))
        self.skipped, self.paths = skipped, paths

    def shorthash(self, name: str) -> str:
        return (hashes.sha256(self.paths[name], f"textual_inversion/{name}") or "")[:12]


checkpoints = Checkpoints()
vaes = Vaes()
loras = Loras()
embeddings = Embeddings()

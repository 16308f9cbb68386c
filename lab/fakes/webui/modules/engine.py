"""The loaded model: which checkpoint and VAE are in use, and how that changes."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading

from modules import errors, library, shared, weights
from modules.paths_internal import sd_default_config
from modules.timer import Timer

CLIP_WIDTH = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"


class Model:
    """A checkpoint in memory: its entry in the library, tensor shapes, the digest of its bytes and its VAE."""

    def __init__(self, info: library.CheckpointInfo, tensors: dict[str, tuple], digest: str) -> None:
        self.info = info
        self.tensors = tensors
        self.digest = digest
        self.vae_file: str | None = None
        self.vae_digest = ""

    @property
    def width(self) -> int | None:
        """Width of the text encoder, if the checkpoint holds one."""
        shape = self.tensors.get(CLIP_WIDTH)
        return shape[-1] if shape else None

    @property
    def vae_name(self) -> str | None:
        return os.path.basename(self.vae_file) if self.vae_file else None


class Engine:
    def __init__(self) -> None:
        self.model: Model | None = None
        self.lock = threading.RLock()

    # --- checkpoint
    def get_model(self) -> Model | None:
        """The model, loaded on first use; None (after a report in the log) when it cannot be loaded."""
        with self.lock:
            if self.model is None:
                try:
                    self._load(library.checkpoints.select())
                except Exception as exc:
                    errors.display(exc, "loading stable diffusion model")
                    print("\nStable diffusion model failed to load", file=sys.stderr)
            return self.model

    def reload_weights(self) -> None:
        """Load what the settings name, unless it is loaded; on failure the model in use stays, and the error is raised."""
        with self.lock:
            info = library.checkpoints.select()
            if self.model is not None and self.model.info.filename == info.filename:
                return
            self._load(info)

    def _load(self, info: library.CheckpointInfo) -> None:
        timer = Timer()
        before = self.model
        if before is not None:
            print(f"Reusing loaded model {before.info.title} to load {info.title}")
        shorthash = info.calculate_shorthash()
        timer.record("calculate hash")
        print(f"Loading weights [{shorthash}] from {info.filename}")
        model = Model(info, weights.read_state_dict(info.filename), library.file_sha256(info.filename))
        timer.record("load weights from disk")
        if before is None:
            print(f"Creating model from config: {info.config or sd_default_config}")
            timer.record("create model")
        shared.opts.data["sd_model_checkpoint"] = info.title
        shared.opts.data["sd_checkpoint_hash"] = info.sha256
        self._load_vae(model, *self.resolve_vae(info.filename))
        timer.record("load VAE")
        if before is None:
            print(f"Applying attention optimization: {attention()}... done.")
        self.model = model
        library.embeddings.refresh(model.width)
        timer.record("load textual inversion embeddings")
        print(f"{'Model' if before is None else 'Weights'} loaded in {timer.summary()}.")

    # --- VAE
    def resolve_vae(self, checkpoint: str) -> tuple[str | None, str]:
        """(file or None, where the choice comes from), by the order of 1.10.1."""
        setting, vaes = shared.opts.sd_vae, library.vaes
        automatic = setting in ("Automatic", "auto")
        if shared.cmd_opts.vae_path is not None:
            return shared.cmd_opts.vae_path, "from commandline argument"
        if automatic or not shared.opts.sd_vae_overrides_per_model_preferences:
            chosen = _user_metadata(checkpoint).get("vae")
            if chosen == "None":
                return None, ""
            if chosen in vaes.all:
                return vaes.all[chosen], "from user metadata"
            sidecar = vaes.sidecar_of(checkpoint)
            if sidecar is not None:
                return sidecar, "found near the checkpoint"
        if setting in vaes.all:
            return vaes.all[setting], "specified in settings"
        if setting != "None" and not automatic:
            print(f"Couldn't find VAE named {setting}; using None instead")
        return None, ""

    @staticmethod
    def _load_vae(model: Model, path: str | None, source: str) -> None:
        digest = ""
        if path is not None:
            assert os.path.isfile(path), f"VAE {source} doesn't exist: {path}"
            print(f"Loading VAE weights {source}: {path}")
            weights.read_state_dict(path)
            digest = library.file_sha256(path)
            library.vaes.all.setdefault(os.path.basename(path), path)
        elif model.vae_file is not None:
            print("Restoring base VAE")
        model.vae_file, model.vae_digest = path, digest

    def reload_vae(self) -> None:
        """Take the VAE that the settings name; AttributeError without a model, as in the original."""
        with self.lock:
            model = self.get_model()
            path, source = self.resolve_vae(model.info.filename)
            if path != model.vae_file:
                self._load_vae(model, path, source)
                print("VAE weights loaded.")

    def vae_shorthash(self) -> str | None:
        path = self.model.vae_file if self.model else None
        digest = library.hashes.sha256(path, f"vae/{os.path.basename(path)}") if path else None
        return digest[:10] if digest else None


def _user_metadata(checkpoint: str) -> dict:
    try:
        with open(os.path.splitext(checkpoint)[0] + ".json", encoding="utf8") as file:
            data = json.load(file)
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        return {}


def xformers_available() -> bool:
    return importlib.util.find_spec("xformers") is not None


def attention() -> str:
    """The attention optimization that 1.10.1 would choose for these flags."""
    opts = shared.cmd_opts
    if (opts.xformers or opts.force_enable_xformers) and xformers_available():
        return "xformers"
    for flag, name in (
        ("opt_sdp_no_mem_attention", "sdp-no-mem"),
        ("opt_sdp_attention", "sdp"),
        ("opt_sub_quad_attention", "sub-quadratic"),
        ("opt_split_attention_v1", "V1"),
        ("opt_split_attention_invokeai", "InvokeAI"),
    ):
        if getattr(opts, flag):
            return name
    return "Doggettx"


engine = Engine()

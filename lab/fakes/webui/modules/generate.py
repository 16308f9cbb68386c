"""txt2img: from a request to PNG files with their infotext."""

from __future__ import annotations

import datetime
import json
import os
import random
import re
from typing import Any

from fastapi import HTTPException

from modules import errors, launch_utils, library, picture, png, samplers, scripts, shared, weights
from modules.engine import engine
from modules.fake import infotext_version
from modules.paths_internal import data_path

# name -> (type, default) of the request, as 1.10.1 has them
FIELDS: dict[str, tuple[type, Any]] = {
    "prompt": (str, ""),
    "negative_prompt": (str, ""),
    "styles": (list, None),
    "seed": (int, -1),
    "subseed": (int, -1),
    "subseed_strength": (float, 0),
    "seed_resize_from_h": (int, -1),
    "seed_resize_from_w": (int, -1),
    "sampler_name": (str, None),
    "scheduler": (str, None),
    "batch_size": (int, 1),
    "n_iter": (int, 1),
    "steps": (int, 50),
    "cfg_scale": (float, 7.0),
    "width": (int, 512),
    "height": (int, 512),
    "restore_faces": (bool, None),
    "tiling": (bool, None),
    "do_not_save_samples": (bool, False),
    "do_not_save_grid": (bool, False),
    "eta": (float, None),
    "denoising_strength": (float, 0.75),
    "s_min_uncond": (float, None),
    "s_churn": (float, None),
    "s_tmax": (float, None),
    "s_tmin": (float, None),
    "s_noise": (float, None),
    "override_settings": (dict, None),
    "override_settings_restore_afterwards": (bool, True),
    "refiner_checkpoint": (str, None),
    "refiner_switch_at": (float, None),
    "disable_extra_networks": (bool, False),
    "firstpass_image": (str, None),
    "comments": (dict, None),
    "enable_hr": (bool, False),
    "firstphase_width": (int, 0),
    "firstphase_height": (int, 0),
    "hr_scale": (float, 2.0),
    "hr_upscaler": (str, None),
    "hr_second_pass_steps": (int, 0),
    "hr_resize_x": (int, 0),
    "hr_resize_y": (int, 0),
    "hr_checkpoint_name": (str, None),
    "hr_sampler_name": (str, None),
    "hr_scheduler": (str, None),
    "hr_prompt": (str, ""),
    "hr_negative_prompt": (str, ""),
    "force_task_id": (str, None),
    "sampler_index": (str, "Euler"),
    "script_name": (str, None),
    "script_args": (list, []),
    "send_images": (bool, True),
    "save_images": (bool, False),
    "alwayson_scripts": (dict, {}),
    "infotext": (str, None),
}
# what only the real program can do: refused, not ignored
UNSUPPORTED = (
    "enable_hr",
    "restore_faces",
    "tiling",
    "refiner_checkpoint",
    "firstpass_image",
    "infotext",
    "subseed_strength",
)
MOST_IMAGES = 16
_network = re.compile(r"<(\w+):([^>]+)>")

last_image: bytes | None = None


class Job:
    """One request while it is worked on; scripts see it as ``p``."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.prompt: str = request["prompt"] or ""
        self.negative_prompt: str = request["negative_prompt"] or ""
        self.width, self.height = request["width"], request["height"]
        self.steps, self.cfg_scale = request["steps"], request["cfg_scale"]
        self.sampler_name, self.scheduler = samplers.choose(
            request["sampler_name"] or request["sampler_index"], request["scheduler"]
        )
        self.seed = random.randrange(4294967294) if request["seed"] in (None, -1) else request["seed"]
        self.subseed = random.randrange(4294967294) if request["subseed"] in (None, -1) else request["subseed"]
        self.extra_generation_params: dict[str, Any] = {}
        self.networks: list[tuple[library.Lora, str]] = []
        self.used_embeddings: list[str] = []

    def find_networks(self) -> None:
        """LoRAs and embeddings that the prompts call; unknown names have no effect, as in the original."""
        hashes = {}
        if not self.request["disable_extra_networks"]:
            has_library = not (shared.cmd_opts.disable_all_extensions or shared.opts.disable_all_extensions == "all")
            for kind, text in _network.findall(self.prompt):
                name, _, rest = text.partition(":")
                lora = library.loras.find(name) if kind in ("lora", "lyco") and has_library else None
                if lora is None:
                    continue
                try:
                    weights.read_state_dict(lora.filename)
                except Exception as exc:
                    errors.display(exc, f"loading network {lora.filename}")
                    continue
                self.networks.append((lora, rest or "1.0"))
                if lora.shorthash():
                    hashes[name.replace(":", "").replace(",", "")] = lora.shorthash()
        if hashes and shared.opts.lora_add_hashes_to_infotext:
            text = ", ".join(f"{name}: {digest}" for name, digest in hashes.items())
            self.extra_generation_params["Lora hashes"] = text
        both = f"{self.prompt}\n{self.negative_prompt}".lower()
        names = [
            name
            for name in library.embeddings.loaded
            if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", _network.sub(" ", both))
        ]
        self.used_embeddings = names
        if names and shared.opts.textual_inversion_add_hashes_to_infotext:
            text = ", ".join(f"{name}: {library.embeddings.shorthash(name)}" for name in names)
            self.extra_generation_params["TI hashes"] = text

    def infotext(self, seed: int) -> str:
        opts, model = shared.opts, engine.model
        skip = opts.CLIP_stop_at_last_layers
        values = {
            "Steps": self.steps,
            "Sampler": self.sampler_name,
            "Schedule type": self.scheduler,
            "CFG scale": self.cfg_scale,
            "Seed": seed,
            "Size": f"{self.width}x{self.height}",
            "Model hash": model.info.shorthash if opts.add_model_hash_to_info else None,
            "Model": model.info.name_for_extra if opts.add_model_name_to_info else None,
            "VAE hash": engine.vae_shorthash() if opts.add_vae_hash_to_info else None,
            "VAE": model.vae_name if opts.add_vae_name_to_info else None,
            "Clip skip": skip if skip > 1 else None,  # a TypeError for a text, as in the original
            **self.extra_generation_params,
            "Version": infotext_version(launch_utils.git_tag()) if opts.add_version_to_infotext else None,
        }
        parameters = ", ".join(f"{name}: {_quote(value)}" for name, value in values.items() if value is not None)
        negative = f"\nNegative prompt: {self.negative_prompt}" if self.negative_prompt else ""
        return f"{self.prompt}{negative}\n{parameters}".strip()

    def draw(self, seed: int, infotext: str, progress) -> bytes:
        model = engine.model
        plain = _network.sub("", self.prompt)
        composition = [
            *(plain, self.negative_prompt, str(seed), f"{self.width}x{self.height}", self.sampler_name, self.scheduler),
            *(str(self.steps), str(self.cfg_scale), str(shared.opts.CLIP_stop_at_last_layers)),
            *(f"{library.file_sha256(lora.filename)} {weight}" for lora, weight in self.networks),
            *(library.file_sha256(library.embeddings.paths[name]) for name in self.used_embeddings),
        ]
        # the pixels of the original are those of the latent space, 8 by 8
        width, height = self.width // 8 * 8, self.height // 8 * 8
        rows = picture.render(width, height, plain, [model.digest, model.vae_digest], composition, progress)
        return png.encode(width, height, rows, {"parameters": infotext} if shared.opts.enable_pnginfo else {})


def _quote(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text


def _check(request: dict[str, Any]) -> dict[str, list]:
    """Refuse what the fake cannot do; return the arguments of always-on scripts by name."""
    unsupported = [name for name in UNSUPPORTED if request[name]]
    if unsupported:
        raise HTTPException(422, f"the sdops lab fake does not support {', '.join(unsupported)}")
    for name in ("width", "height"):
        if not 64 <= (request[name] or 0) <= 2048:
            raise HTTPException(422, f"the sdops lab fake draws 64 to 2048 pixels, {name} is {request[name]}")
    count = (request["batch_size"] or 0) * (request["n_iter"] or 0)
    if not 1 <= count <= MOST_IMAGES or (request["steps"] or 0) < 1:
        raise HTTPException(422, f"the sdops lab fake draws 1 to {MOST_IMAGES} images in at least 1 step")
    arguments = {}
    for name, entry in [(request["script_name"], {}), *(request["alwayson_scripts"] or {}).items()]:
        if not name:
            continue
        script = scripts.find(name)
        if script is None:
            raise HTTPException(422, f"Script '{name}' not found")
        if name != request["script_name"] and not script.alwayson:
            raise HTTPException(422, "Cannot have a selectable script in the always on scripts params")
        arguments[script.name] = list(entry.get("args", []))
    return arguments


def _apply_overrides(request: dict[str, Any]) -> None:
    """Set ``override_settings`` for this request."""
    opts, overrides = shared.opts, dict(request["override_settings"] or {})
    if library.checkpoints.find(overrides.get("sd_model_checkpoint")) is None:
        overrides.pop("sd_model_checkpoint", None)  # an unknown one is passed over silently
        engine.reload_weights()
    for name, value in overrides.items():
        opts.set(name, value, run_callbacks=False)
        if name == "sd_model_checkpoint":
            engine.reload_weights()
        if name == "sd_vae":
            engine.reload_vae()


def txt2img(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a txt2img request: ``images`` (base64 is the caller's part: PNG bytes here), ``info``."""
    global last_image
    arguments = _check(request)
    state = shared.state
    with shared.queue_lock:
        engine.get_model()
        # as in the original, a setting that has never been set is not put back and keeps the override
        data = shared.opts.data
        stored = {name: data[name] for name in request["override_settings"] or {} if name in data}
        try:
            state.begin("scripts_txt2img")
            _apply_overrides(request)
            images, info = _draw_all(Job(request), arguments)
        finally:
            state.end()
            if request["override_settings_restore_afterwards"]:
                for name, value in stored.items():
                    data[name] = value
                if "sd_vae" in stored:
                    engine.reload_vae()
    if images:
        last_image = images[-1]
    return {"images": images, "info": info}


def _draw_all(job: Job, arguments: dict[str, list]) -> tuple[list[bytes], str]:
    state, model, request = shared.state, engine.model, job.request
    scripts.run(job, arguments)
    job.find_networks()
    count = request["batch_size"] * request["n_iter"]
    seeds = [job.seed + number for number in range(count)]
    state.job_count, state.sampling_steps = request["n_iter"], job.steps

    def progress(done: float) -> None:
        state.sampling_step = int(done * job.steps)

    images, infotexts = [], []
    for number, seed in enumerate(seeds):
        state.job_no = number // request["batch_size"]
        infotext = job.infotext(seed)
        image = job.draw(seed, infotext, progress)
        if request["save_images"] and shared.opts.samples_save:
            save(image, seed, infotext)
        images.append(image)
        infotexts.append(infotext)
    if infotexts and not shared.cmd_opts.no_prompt_history:
        with open(os.path.join(data_path, "params.txt"), "w", encoding="utf8") as file:
            file.write(infotexts[0])
    info = {
        "prompt": job.prompt,
        "all_prompts": [job.prompt] * count,
        "negative_prompt": job.negative_prompt,
        "all_negative_prompts": [job.negative_prompt] * count,
        "seed": job.seed,
        "all_seeds": seeds,
        "subseed": job.subseed,
        "all_subseeds": [job.subseed + number for number in range(count)],
        "subseed_strength": 0,
        "width": job.width,
        "height": job.height,
        "sampler_name": job.sampler_name,
        "cfg_scale": job.cfg_scale,
        "steps": job.steps,
        "batch_size": request["batch_size"],
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": model.info.name_for_extra,
        "sd_model_hash": model.info.shorthash,
        "sd_vae_name": model.vae_name,
        "sd_vae_hash": engine.vae_shorthash(),
        "seed_resize_from_w": request["seed_resize_from_w"],
        "seed_resize_from_h": request["seed_resize_from_h"],
        "denoising_strength": None,
        "extra_generation_params": job.extra_generation_params,
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": request["styles"] or [],
        "job_timestamp": state.job_timestamp,
        "clip_skip": shared.opts.CLIP_stop_at_last_layers,
        "is_using_inpainting_conditioning": False,
        "version": infotext_version(launch_utils.git_tag()),
    }
    return images, json.dumps(info)


def save(image: bytes, seed: int, infotext: str) -> str:
    """Write outputs/txt2img-images/DATE/NUMBER-SEED.png (and .txt with save_txt); never visible half-written."""
    opts = shared.opts
    folder = opts.outdir_samples or opts.outdir_txt2img_samples
    if opts.save_to_dirs:
        folder = os.path.join(folder, datetime.date.today().isoformat())
    os.makedirs(folder, exist_ok=True)
    numbers = [int(found.group()) for found in map(re.compile(r"\d+(?=[-.])").match, os.listdir(folder)) if found]
    stem = os.path.join(folder, f"{max(numbers, default=-1) + 1:05}-{seed}")
    with open(f"{stem}.tmp", "wb") as file:
        file.write(image)
    os.replace(f"{stem}.tmp", f"{stem}.png")
    if opts.save_txt:
        with open(f"{stem}.txt", "w", encoding="utf8") as file:
            file.write(f"{infotext}\n")
    return f"{stem}.png"

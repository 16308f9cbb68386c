"""/sdapi/v1/*: the calls of 1.10.1 that the collection and its tests make."""

from __future__ import annotations

import base64
import time
from typing import Any

from modules import extensions, generate, library, schema, shared
from modules.http import App, Request


def get_options(request: Request) -> dict[str, Any]:
    """All known settings; a stored value that does not fit its setting's type makes this fail (status 500)."""
    labels, data = shared.opts.data_labels, shared.opts.data
    values = {name: data.get(name, info.default) for name, info in labels.items()}
    kinds = {name: schema.answer_kind(labels[name].default) if name in data else None for name in labels}
    return schema.answer("Options", kinds, values)


def set_options(request: Request) -> None:
    body = request.json()
    name = body.get("sd_model_checkpoint")
    if name is not None and library.checkpoints.find(name) is None:
        raise RuntimeError(f"model {name!r} not found")
    for key, value in body.items():
        shared.opts.set(key, value)
    shared.opts.save(shared.config_filename)


def progress(request: Request) -> dict[str, Any]:
    state = shared.state
    answer = {"progress": 0.0, "eta_relative": 0.0, "state": state.dict(), "current_image": None}
    if state.job_count:
        done = 0.01
        if state.job_count > 0:
            done += state.job_no / state.job_count
            if state.sampling_steps > 0:
                done += state.sampling_step / state.sampling_steps / state.job_count
        spent = time.time() - state.time_start
        answer.update(progress=min(done, 1.0), eta_relative=spent / done - spent)
    return {**answer, "textinfo": state.textinfo}


def sd_models(request: Request) -> list:
    return [
        {
            "title": info.title,
            "model_name": info.model_name,
            "hash": info.shorthash,
            "sha256": info.sha256,
            "filename": info.filename,
            "config": info.config,
        }
        for info in library.checkpoints.all
    ]


def sd_vae(request: Request) -> list:
    return [{"model_name": name, "filename": path} for name, path in library.vaes.all.items()]


def loras(request: Request) -> list:
    return [
        {"name": lora.name, "alias": lora.alias, "path": lora.filename, "metadata": lora.metadata}
        for lora in library.loras.all.values()
    ]


def embeddings(request: Request) -> dict[str, Any]:
    return {"loaded": library.embeddings.loaded, "skipped": library.embeddings.skipped}


def refresh_checkpoints(request: Request) -> None:
    with shared.queue_lock:
        library.checkpoints.refresh()


def get_extensions(request: Request) -> list:
    extensions.list_extensions()
    names = ("name", "remote", "branch", "commit_hash", "commit_date", "version", "enabled")
    found = []
    for entry in extensions.extensions:
        entry.read_info_from_repo()
        if entry.remote is not None:
            found.append({name: getattr(entry, name) for name in names})
    return found


def txt2img(request: Request) -> dict[str, Any]:
    fields = schema.request(generate.FIELDS, request.json())
    result = generate.txt2img(fields)
    images = [base64.b64encode(image).decode("ascii") for image in result["images"]] if fields["send_images"] else []
    return {"images": images, "parameters": fields, "info": result["info"]}


def add_lora_routes(app: App) -> None:
    """What the built-in LoRA extension brings: there without --api, and outside --api-auth, as in the original."""
    if any(entry.name == "Lora" for entry in extensions.active()):
        app.add("/sdapi/v1/loras", loras)


def add_routes(app: App) -> None:
    for path, function in (
        ("options", get_options),
        ("progress", progress),
        ("sd-models", sd_models),
        ("sd-vae", sd_vae),
        ("embeddings", embeddings),
        ("extensions", get_extensions),
    ):
        app.add(f"/sdapi/v1/{path}", function, api=True)
    for path, function in (
        ("options", set_options),
        ("txt2img", txt2img),
        ("refresh-checkpoints", refresh_checkpoints),
    ):
        app.add(f"/sdapi/v1/{path}", function, "POST", api=True)

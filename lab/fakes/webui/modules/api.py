"""/sdapi/v1/*: the calls of 1.10.1 that the collection and its users make."""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from typing import Any

from modules import extensions, generate, library, png, samplers, schema, scripts, shared
from modules.engine import engine
from modules.http import App, HTTPException, Request, Response
from modules.paths_internal import script_path


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


def cmd_flags(request: Request) -> dict[str, Any]:
    """All flags with their values, passwords included; a flag without a default has a text for a value."""
    kinds, values = {}, {}
    for action in shared.parser._actions:
        if action.dest != "help":
            kinds[action.dest] = str if action.default is None else type(action.default)
            values[action.dest] = getattr(shared.cmd_opts, action.dest)
    return schema.answer("Flags", kinds, values)


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


def refresh_embeddings(request: Request) -> None:
    with shared.queue_lock:
        library.embeddings.refresh(engine.get_model().width)  # AttributeError without a model, as in the original


def refresh_checkpoints(request: Request) -> None:
    with shared.queue_lock:
        library.checkpoints.refresh()


def refresh_vae(request: Request) -> None:
    with shared.queue_lock:
        library.vaes.refresh()


def memory(request: Request) -> dict[str, Any]:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * page
        ram: dict[str, Any] = {"free": total - used, "used": used, "total": total}
    except Exception as exc:
        ram = {"error": str(exc)}
    try:
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            zero = {"current": 0, "peak": 0}
            cuda: dict[str, Any] = {
                "system": {"free": free, "used": total - free, "total": total},
                **{name: dict(zero) for name in ("active", "allocated", "reserved", "inactive")},
                "events": {"retries": 0, "oom": 0},
            }
        else:
            cuda = {"error": "unavailable"}
    except Exception as exc:
        cuda = {"error": str(exc)}
    return {"ram": ram, "cuda": cuda}


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


def png_info(request: Request) -> dict[str, Any]:
    text = str(request.json().get("image", "")).strip()
    try:
        data = base64.b64decode(text.split(",", 1)[1] if text.startswith("data:image/") else text)
        texts = png.texts(data)
    except Exception as exc:
        raise HTTPException(500, "Invalid encoded image") from exc
    info = texts.get("parameters", "")
    pairs = re.findall(r'\s*([\w ]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', info.splitlines()[-1] if info else "")
    return {"info": info, "items": texts, "parameters": {name.strip(): value.strip('"') for name, value in pairs}}


def interrupt(request: Request) -> dict[str, Any]:
    shared.state.interrupted = True
    return {}


def skip(request: Request) -> None:
    shared.state.skipped = True


def _leave(request: Request) -> None:
    threading.Timer(0.05, os._exit, (0,)).start()  # the original dies before it answers; the client sees either


def _restart(request: Request) -> Response:
    if os.environ.get("SD_WEBUI_RESTART"):
        os.makedirs(os.path.join(script_path, "tmp"), exist_ok=True)
        with open(os.path.join(script_path, "tmp", "restart"), "w", encoding="ascii"):
            pass
        _leave(request)
    return Response(b"", status=501)


def _stop(request: Request) -> Response:
    shared.state.command("stop")
    return Response(b"Stopping.")


def add_lora_routes(app: App) -> None:
    """What the built-in LoRA extension brings: there without --api, and outside --api-auth, as in the original."""
    if any(entry.name == "Lora" for entry in extensions.active()):
        app.add("/sdapi/v1/loras", loras)
        app.add("/sdapi/v1/refresh-loras", lambda request: library.loras.refresh(), "POST")


def add_routes(app: App) -> None:
    gets = {
        "options": get_options,
        "cmd-flags": cmd_flags,
        "progress": progress,
        "sd-models": sd_models,
        "sd-vae": sd_vae,
        "embeddings": embeddings,
        "memory": memory,
        "extensions": get_extensions,
        "samplers": lambda request: [
            {"name": name, "aliases": aliases, "options": options} for name, aliases, options in samplers.SAMPLERS
        ],
        "schedulers": lambda request: [
            {"name": name, "label": label, "aliases": aliases, "default_rho": rho, "need_inner_model": inner}
            for name, label, rho, inner, aliases in samplers.SCHEDULERS
        ],
        "scripts": lambda request: {"txt2img": [script.name for script in scripts.loaded], "img2img": []},
        "upscalers": lambda request: [
            {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
            for name in ("None", "Lanczos", "Nearest")
        ],
        "hypernetworks": lambda request: [
            {"name": os.path.splitext(os.path.basename(path))[0], "path": path}
            for path in library.walk(shared.cmd_opts.hypernetwork_dir, (".pt",))
        ],
        "face-restorers": lambda request: [],
        "prompt-styles": lambda request: [],
    }
    posts = {
        "options": set_options,
        "txt2img": txt2img,
        "png-info": png_info,
        "interrupt": interrupt,
        "skip": skip,
        "unload-checkpoint": lambda request: {},
        "reload-checkpoint": lambda request: {},
        "refresh-checkpoints": refresh_checkpoints,
        "refresh-vae": refresh_vae,
        "refresh-embeddings": refresh_embeddings,
    }
    if shared.cmd_opts.api_server_stop:
        posts.update({"server-kill": _leave, "server-restart": _restart, "server-stop": _stop})
    for method, calls in (("GET", gets), ("POST", posts)):
        for name, function in calls.items():
            app.add(f"/sdapi/v1/{name}", function, method, api=True)

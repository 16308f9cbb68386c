"""/sdapi/v1/*: the calls of 1.10.1 that the collection and its tests make."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Any, Callable, Optional

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import create_model

from modules import errors, extensions, generate, library, shared
from modules.engine import engine

Txt2ImgRequest = create_model(
    "StableDiffusionTxt2ImgProcessingAPI",
    **{name: (Optional[kind], default) for name, (kind, default) in generate.FIELDS.items()},
)


def options_model() -> type:
    """Types by the defaults: a stored value that does not fit its setting's makes the answer fail (status 500)."""

    def kind(default: Any) -> Any:
        return (float if type(default) is int else type(default)) if default else Any

    labels = shared.opts.data_labels.items()
    return create_model("Options", **{name: (Optional[kind(info.default)], info.default) for name, info in labels})


def get_options():
    return shared.opts.data


def set_options(body: dict) -> None:
    name = body.get("sd_model_checkpoint")
    if name is not None and library.checkpoints.find(name) is None:
        raise RuntimeError(f"model {name!r} not found")
    for key, value in body.items():
        shared.opts.set(key, value)
    shared.opts.save(shared.config_filename)


def progress():
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


def sd_models():
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


def sd_vae():
    return [{"model_name": name, "filename": path} for name, path in library.vaes.all.items()]


def loras():
    return [
        {"name": lora.name, "alias": lora.alias, "path": lora.filename, "metadata": lora.metadata}
        for lora in library.loras.all.values()
    ]


def embeddings():
    return {"loaded": library.embeddings.loaded, "skipped": library.embeddings.skipped}


def refresh_checkpoints() -> None:
    with shared.queue_lock:
        library.checkpoints.refresh()


def refresh_vae() -> None:
    with shared.queue_lock:
        library.vaes.refresh()


def refresh_embeddings() -> None:
    """AttributeError without a model, as in the original."""
    with shared.queue_lock:
        library.embeddings.refresh(engine.get_model().width)


async def refresh_loras() -> None:
    library.loras.refresh()


def get_extensions():
    extensions.list_extensions()
    names = ("name", "remote", "branch", "commit_hash", "commit_date", "version", "enabled")
    found = []
    for entry in extensions.extensions:
        entry.read_info_from_repo()
        if entry.remote is not None:
            found.append({name: getattr(entry, name) for name in names})
    return found


def txt2img(body: Txt2ImgRequest):
    fields = body.dict()
    result = generate.txt2img(fields)
    images = [base64.b64encode(image).decode("ascii") for image in result["images"]] if fields["send_images"] else []
    return {"images": images, "parameters": fields, "info": result["info"]}


def add_lora_routes(app: FastAPI) -> None:
    """What the built-in LoRA extension adds: there without --api, and outside --api-auth, as in the original."""
    if any(entry.name == "Lora" for entry in extensions.active()):
        app.get("/sdapi/v1/loras")(loras)
        app.post("/sdapi/v1/refresh-loras")(refresh_loras)


def same(expected: str | None, given: str) -> bool:
    return expected is not None and secrets.compare_digest(expected.encode("utf8"), given.encode("utf8"))


def _basic_login(users: dict[str, str]) -> Callable:
    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
        if not same(users.get(given.username), given.password):
            raise HTTPException(401, "Incorrect username or password")

    return check


def _failure(request: Request, exc: Exception) -> JSONResponse:
    """The original's body of an error; it drops the WWW-Authenticate header: a client must send Basic unasked."""
    is_http_error = isinstance(exc, HTTPException)
    body = {"error": type(exc).__name__, "detail": "", "body": "", "errors": "" if is_http_error else str(exc)}
    if is_http_error:
        return JSONResponse({**body, "detail": exc.detail}, exc.status_code)
    errors.report(f"API error: {request.method}: {request.url} {body}", exc_info=True)
    return JSONResponse(body, 500)


async def _guarded(request: Request, call_next: Callable) -> Any:
    started = time.monotonic()
    try:
        answer = await call_next(request)
    except Exception as exc:
        return _failure(request, exc)
    answer.headers["X-Process-Time"] = f"{time.monotonic() - started:.4f}"
    return answer


def add_routes(app: FastAPI, api_auth: str | None) -> None:
    app.middleware("http")(_guarded)
    app.exception_handler(HTTPException)(_failure)
    # a pair without a colon ends the start (ValueError), as in the original
    users = {user: password for user, password in (pair.split(":") for pair in api_auth.split(","))} if api_auth else {}
    login = [Depends(_basic_login(users))] if users else []
    for method, path, function, model in (
        ("GET", "options", get_options, options_model()),
        ("GET", "progress", progress, None),
        ("GET", "sd-models", sd_models, None),
        ("GET", "sd-vae", sd_vae, None),
        ("GET", "embeddings", embeddings, None),
        ("GET", "extensions", get_extensions, None),
        ("POST", "options", set_options, None),
        ("POST", "txt2img", txt2img, None),
        ("POST", "refresh-checkpoints", refresh_checkpoints, None),
        ("POST", "refresh-embeddings", refresh_embeddings, None),
        ("POST", "refresh-vae", refresh_vae, None),
    ):
        app.add_api_route(f"/sdapi/v1/{path}", function, methods=[method], response_model=model, dependencies=login)

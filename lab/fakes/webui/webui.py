"""sdops lab fake of stable-diffusion-webui 1.10.1: the serving phase (not the real WebUI)."""

from __future__ import annotations

import base64
import html
import os
import secrets
import signal
import socket
import threading
import time
import urllib.parse
from typing import Iterator

from modules import errors, fake, paths, proxy_check, timer
from modules.timer import startup_timer

startup_timer.record("launcher")


def _imports() -> None:
    """Everything that a broken installation trips over: torch, the proxies, the cloned repositories."""
    import torch  # noqa: F401

    startup_timer.record("import torch")
    proxy_check.check_client()
    import fastapi  # noqa: F401
    import uvicorn  # noqa: F401

    startup_timer.record("import gradio")
    paths.add_repositories()
    import k_diffusion.sampling  # noqa: F401
    import ldm.modules.encoders.modules  # noqa: F401
    import sgm  # noqa: F401

    startup_timer.record("setup paths")


_imports()

import uvicorn  # noqa: E402
from fastapi import FastAPI, HTTPException, Request, Response  # noqa: E402
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse  # noqa: E402
from fastapi.staticfiles import StaticFiles  # noqa: E402
from modules import api, extensions, generate, launch_utils, library, scripts, shared, sysinfo  # noqa: E402
from modules.engine import engine, xformers_available  # noqa: E402
from modules.paths_internal import extensions_dir  # noqa: E402

opts, flags = shared.opts, shared.cmd_opts


def _check_versions() -> None:
    import torch

    if not torch.__version__.startswith("2.1.2") and not flags.skip_version_check:
        errors.print_error_explanation(
            f"You are running torch {torch.__version__}.\nThe contract is kept for torch 2.1.2.\n"
            "Use --skip-version-check commandline argument to disable this check."
        )


def initialize() -> None:
    """Directories, settings, extensions and lists of models; the model itself comes later, in a thread."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
    _check_versions()
    if flags.xformers and not xformers_available():
        print("No module 'xformers'. Proceeding without it.")
    for directory in (
        *(library.model_dir, flags.hypernetwork_dir, flags.codeformer_models_path, flags.gfpgan_models_path),
        *(
            flags.esrgan_models_path,
            flags.realesrgan_models_path,
            flags.dat_models_path,
            extensions_dir,
            library.vae_dir,
        ),
        *(flags.embeddings_dir, flags.swinir_models_path, flags.scunet_models_path, flags.ldsr_models_path),
    ):
        os.makedirs(directory, exist_ok=True)
    for name, callback in (
        ("sd_model_checkpoint", engine.reload_weights),
        ("sd_vae", engine.reload_vae),
        ("sd_vae_overrides_per_model_preferences", engine.reload_vae),
    ):
        opts.data_labels[name].onchange = _queued(callback)
    startup_timer.record("setup SD model")
    extensions.list_extensions()
    startup_timer.record("list extensions")
    library.checkpoints.refresh()
    startup_timer.record("list SD models")
    with startup_timer.subcategory("load scripts"):
        scripts.load_scripts(extensions.active())
    library.vaes.refresh()
    library.loras.refresh()
    startup_timer.record("initialize extra networks")


def _queued(function):
    def call() -> None:
        with shared.queue_lock:
            function()

    return call


def _load_model_later() -> None:
    """Load the model in the background, a moment after the port answers: an answer on the port is not a loaded model."""
    if flags.skip_load_model_at_start or flags.ui_debug_mode:
        return
    delay = float(os.environ.get("SDOPS_LAB_MODEL_DELAY") or 1)

    def load() -> None:
        time.sleep(delay)
        engine.get_model()

    threading.Thread(target=load, daemon=True, name="load model").start()


def _logins() -> Iterator[tuple[str, str]]:
    lines: list[str] = [flags.gradio_auth or ""]
    if flags.gradio_auth_path:
        with open(flags.gradio_auth_path, encoding="utf8") as file:
            lines += file.read().splitlines()
    for part in ",".join(lines).split(","):
        user, _, password = part.strip().partition(":")
        if user:
            yield user, password


def _host() -> str:
    return flags.server_name or os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if flags.listen else "127.0.0.1")


# --- the page ---------------------------------------------------------------------------------------------------------
def page(title: str, body: str) -> HTMLResponse:
    return HTMLResponse(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        '<link rel="stylesheet" href="/webui-assets/css/fake.css"></head>'
        f'<body><p class="fake">{html.escape(fake.BANNER)}.</p>{body}</body></html>'
    )


def _login_page() -> HTMLResponse:
    form = (
        '<main><h1>Login</h1><form method="post" action="/login">'
        '<p><label>username <input name="username" autocomplete="username" required></label></p>'
        '<p><label>password <input name="password" type="password" autocomplete="current-password"></label></p>'
        "<p><button>Login</button></p></form></main>"
    )
    return page("Stable Diffusion (sdops lab fake): login", form)


def _home(user: str | None) -> HTMLResponse:
    if user is None:
        return _login_page()
    text = html.escape
    model = engine.model
    loaded = model.info.title if model else "no model is loaded"
    rows = [
        *(("checkpoint", info.title) for info in library.checkpoints.all),
        *(("VAE", name) for name in library.vaes.all),
        *(("LoRA", name) for name in library.loras.all),
        *(("embedding", name) for name in library.embeddings.loaded),
        *(("extension", entry.name) for entry in extensions.active() if not entry.is_builtin),
    ]
    table = "".join(f"<tr><td>{kind}</td><td>{text(name)}</td></tr>" for kind, name in rows)
    image = '<p class="none">No image has been made since the start.</p>'
    if generate.last_image:
        data = base64.b64encode(generate.last_image).decode("ascii")
        infotext = generate.png.texts(generate.last_image).get("parameters", "")
        image = (
            f'<figure><img alt="the last image" src="data:image/png;base64,{data}">'
            f"<figcaption>{text(infotext)}</figcaption></figure>"
        )
    body = (
        f"<main><h1>Stable Diffusion</h1><p>Stable Diffusion checkpoint: <b>{text(loaded)}</b></p>{image}"
        f"<table><tr><th>kind</th><th>name</th></tr>{table}</table>"
        f"<footer>version {text(launch_utils.git_tag())} • commit {text(launch_utils.commit_hash()[:8])}"
        f"{' • logged in as ' + text(user) if user else ''}</footer></main>"
    )
    return page("Stable Diffusion (sdops lab fake)", body)


def _add_page(app: FastAPI) -> None:
    logins = dict(_logins())
    app.tokens = tokens = {}  # who is logged in, by the value of the cookie; where gradio has them

    def user_of(request: Request) -> str | None:
        """Who is logged in on the page ('' when no login is wanted)."""
        return tokens.get(request.cookies.get("access-token-unsecure")) if logins else ""

    @app.head("/", include_in_schema=False)
    @app.get("/")
    def home(request: Request):
        return _home(user_of(request))

    @app.post("/login")
    async def login(request: Request):
        form = dict(urllib.parse.parse_qsl((await request.body()).decode("utf8", "replace")))
        user = form.get("username", "")
        if not api.same(logins.get(user), form.get("password", "")):
            return JSONResponse({"detail": "Incorrect credentials."}, 400)
        by_browser = "text/html" in request.headers.get("accept", "")
        answer: Response = RedirectResponse("/", 303) if by_browser else JSONResponse({"success": True})
        token = secrets.token_urlsafe(16)
        tokens[token] = user
        for name in ("access-token", "access-token-unsecure"):
            answer.set_cookie(name, token, httponly=True)
        return answer

    @app.get("/config")
    def config(request: Request):
        if user_of(request) is None:
            raise HTTPException(401, "Not authenticated")
        about = {"title": "Stable Diffusion", "fake": fake.NAME}
        return {"version": "3.41.2", "mode": "blocks", **about, "components": []}

    app.get("/login")(_login_page)
    app.get("/internal/ping")(lambda: {})
    app.get("/internal/profile-startup")(lambda: timer.startup_record)
    app.get("/internal/sysinfo")(lambda: PlainTextResponse(sysinfo.get()))
    app.mount("/webui-assets", StaticFiles(directory=launch_utils.repo_dir("stable-diffusion-webui-assets")))


# --- running ----------------------------------------------------------------------------------------------------------
def _listen(host: str) -> socket.socket:
    """A socket on --port or GRADIO_SERVER_PORT, else on the first free port from 7860; OSError when there is none."""
    first = flags.port or int(os.environ.get("GRADIO_SERVER_PORT") or 0)
    ports = [first] if first else list(range(7860, 7960))
    for port in ports:
        try:
            return socket.create_server((host, port))
        except OSError as exc:
            last = exc
    raise OSError(
        f"Cannot find empty port in range: {ports[0]}-{ports[-1]}. You can specify a different port by setting the "
        "GRADIO_SERVER_PORT environment variable or passing the `server_port` parameter to `launch()`."
    ) from last


def webui() -> None:
    """The page, /internal and, with --api, the API; until a signal ends the process."""
    time.sleep(float(os.environ.get("SDOPS_LAB_START_DELAY") or 0))
    initialize()
    app = FastAPI(title=fake.NAME, version=fake.CONTRACT)
    _add_page(app)
    api.add_lora_routes(app)
    if flags.api:
        api.add_routes(app, flags.api_auth)
    host = _host()
    listener = _listen(host)
    local = f"http://{host}:{listener.getsockname()[1]}"
    about = {"server_header": False, "headers": [("server", fake.SERVER)]}
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **about))
    print(f"Running on local URL:  {local}")
    threading.Thread(target=server.run, args=([listener],), daemon=True, name="http").start()
    if flags.share:
        print("\nCould not create share link. The sdops lab fake makes none.")
    else:
        proxy_check.check_localhost(f"{local}/")
        print("\nTo create a public link, set `share=True` in `launch()`.")
    startup_timer.record("gradio launch")
    timer.startup_record = startup_timer.dump()
    print(f"Startup time: {startup_timer.summary()}.")
    _load_model_later()
    threading.Event().wait()


if __name__ == "__main__":
    webui()

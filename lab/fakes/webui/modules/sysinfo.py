"""/internal/sysinfo: what the real program shows to everybody, COMMANDLINE_ARGS with its passwords included."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from typing import Any

from modules import errors, launch_utils, paths_internal, timer
from modules.fake import NAME

ENVIRONMENT = """
    ASSETS_COMMIT_HASH ASSETS_REPO BLIP_COMMIT_HASH BLIP_REPO CLIP_PACKAGE COMMANDLINE_ARGS GIT GRADIO_ANALYTICS_ENABLED
    IGNORE_CMD_ARGS_ERRORS INDEX_URL K_DIFFUSION_COMMIT_HASH K_DIFFUSION_REPO OPENCLIP_PACKAGE PYTHONPATH REQS_FILE
    STABLE_DIFFUSION_COMMIT_HASH STABLE_DIFFUSION_REPO TORCH_COMMAND TORCH_INDEX_URL WEBUI_LAUNCH_LIVE_OUTPUT
    XFORMERS_PACKAGE
"""


def _argv() -> list:
    """The arguments; a password is hidden only where it is an argument of its own."""
    from modules.shared_cmd_options import cmd_opts

    secrets = {value for value in (cmd_opts.gradio_auth, cmd_opts.api_auth) if value}
    return ["<hidden>" if arg in secrets else arg for arg in sys.argv]


def _torch() -> Any:
    try:
        import torch

        return {"torch_version": torch.__version__, "cuda_compiled_version": torch.version.cuda}
    except Exception as exc:
        return str(exc)


def _extensions(enabled: bool) -> list:
    from modules import extensions

    entries = []
    for entry in extensions.extensions:
        if not entry.is_builtin and entry.enabled == enabled:
            entry.read_info_from_repo()
            names = {"name": "name", "path": "path", "commit": "commit_hash", "branch": "branch", "remote": "remote"}
            entries.append({key: getattr(entry, attribute) for key, attribute in names.items()})
    return entries


def get() -> str:
    from modules import shared

    token = "0" * 64
    report = {
        "Fake": NAME,
        "Platform": platform.platform(),
        "Python": platform.python_version(),
        "Version": launch_utils.git_tag(),
        "Commit": launch_utils.commit_hash(),
        "Script path": paths_internal.script_path,
        "Data path": paths_internal.data_path,
        "Extensions dir": paths_internal.extensions_dir,
        "Checksum": token,
        "Commandline": _argv(),
        "Torch env info": _torch(),
        "Exceptions": errors.get_exceptions(),
        "CPU": {"model": platform.processor(), "count logical": os.cpu_count()},
        "Extensions": _extensions(True),
        "Inactive extensions": _extensions(False),
        "Environment": {name: os.environ[name] for name in sorted(os.environ) if name in ENVIRONMENT.split()},
        "Config": shared.opts.data,
        "Startup": timer.startup_record,
        "Packages": sorted(f"{dist.metadata['Name']}=={dist.version}" for dist in importlib.metadata.distributions()),
    }
    text = json.dumps(report, ensure_ascii=False, indent=4)
    return text.replace(token, hashlib.sha256(text.encode("utf8")).hexdigest(), 1)

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that the download modules share, and what they mean to the packages."""

from __future__ import annotations

import os
from typing import Any, Callable
from urllib.parse import urlsplit

from ..errors import ArgumentError
from ..progress import ProgressWriter
from ..secrets import clean_token
from ..urls import may_carry_token
from .batch import ModelInstaller
from .model_file import FileStatus
from .options import BatchOptions
from .prefetch import PrefetchDirectory
from .spec import ModelSpec, parse_sha256, redact_source

TRANSFER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "huggingface_endpoint": {"type": "str", "default": "https://huggingface.co"},
    "civitai_endpoint": {"type": "str", "default": "https://civitai.com"},
    "huggingface_token": {"type": "str", "no_log": True},
    "civitai_token": {"type": "str", "no_log": True},
    "allow_pickle": {"type": "bool", "default": False},
    "proxy": {"type": "str"},
    "huggingface_proxy": {"type": "str"},
    "civitai_proxy": {"type": "str"},
    "ca_path": {"type": "path"},
    "connections": {"type": "int", "default": 8},
    "timeout": {"type": "int", "default": 30},
    "retries": {"type": "int", "default": 5},
}


def _check_endpoint(params: dict[str, Any], service: str) -> str:
    """The service's base URL. Raises ArgumentError."""
    option = service + "_endpoint"
    url: str = params[option]
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ArgumentError(
            "{} must be a URL like {}, with its scheme, and not {!r}.".format(
                option, TRANSFER_ARGUMENTS[option]["default"], redact_source(url)
            )
        )
    return url


def describe_unsent_tokens(params: dict[str, Any]) -> list[str]:
    """Sentences on tokens that will not be sent, since nobody would be able to tell from the answers."""
    return [
        "The {}_token is not sent to {}, which would carry it in the clear. Give an https endpoint.".format(
            service, redact_source(params[service + "_endpoint"])
        )
        for service in ("huggingface", "civitai")
        if params[service + "_token"] and not may_carry_token(params[service + "_endpoint"])
    ]


def list_tokens(params: dict[str, Any]) -> list[str]:
    """The tokens as they are sent, without the white space that came along."""
    tokens = ((params[option] or "").strip() for option in ("huggingface_token", "civitai_token"))
    return [token for token in tokens if token]


def make_installer(
    params: dict[str, Any],
    webui_dir: str,
    check_mode: bool,
    prefetch_dir: PrefetchDirectory | None = None,
    check: Callable[[], None] = lambda: None,
) -> ModelInstaller:
    """The installer for these options; ``check`` as for ProgressWriter. Raises ArgumentError."""
    options = BatchOptions(
        webui_dir=webui_dir,
        allow_pickle=params["allow_pickle"],
        verify=params.get("verify") or "recorded",
        cache_dir=params.get("cache_dir"),
        huggingface_endpoint=_check_endpoint(params, "huggingface"),
        civitai_endpoint=_check_endpoint(params, "civitai"),
        huggingface_token=clean_token(params["huggingface_token"], "huggingface_token"),
        civitai_token=clean_token(params["civitai_token"], "civitai_token"),
        connections=params["connections"],
        proxies={s: params[s + "_proxy"] for s in ("huggingface", "civitai") if params[s + "_proxy"] is not None},
        check_mode=check_mode,
        accept_change=bool(params.get("accept_change")),
        force=bool(params.get("force")),
        prefetch_dir=prefetch_dir,
        list_name=params.get("list_name") or "",
        state_file=params.get("state_file") or "",
    )
    http_options = {key: params[key] for key in ("proxy", "ca_path", "timeout", "retries")}
    progress_file = None if check_mode else params.get("progress_file")
    return ModelInstaller(options, http_options, ProgressWriter(progress_file, check))


def install_one_file(spec: ModelSpec, params: dict[str, Any], dest: str, check_mode: bool) -> dict[str, Any]:
    """Install one file at ``dest`` (a path, or a directory for it). What lies there is verified by its hash each time.

    Returns the result of a module, with ``warnings`` for it to show. Raises SdopsError.
    """
    if spec.sha256 is not None:
        sha256 = parse_sha256(spec.sha256, spec.label)
        spec = spec._replace(sha256=sha256)
        if "sha256" in spec.locator:
            spec.locator["sha256"] = sha256
    installer = make_installer(params, os.path.dirname(os.path.abspath(dest)), check_mode)
    file = installer.install_at(spec, dest)
    changed = file.status is not FileStatus.OK
    entry = file.result()
    return {
        "changed": changed,
        "path": entry["path"],
        "sha256": entry["sha256"],
        "bytes": entry["bytes"],
        "revision": entry["revision"],
        "actions": ["fetch {}".format(entry["path"])] if changed else [],
        "diff": {"before": "", "after": "{}\n".format(entry["path"]) if changed else ""},
        "warnings": [*describe_unsent_tokens(params), *file.warnings],
    }

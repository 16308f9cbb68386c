"""Hosts that only hand out files: releases, the conda channel, the wheel index."""

from __future__ import annotations

import hashlib
import html
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Request


def below(base: Path, path: str) -> Path | None:
    """The file at ``path`` below ``base``, None when there is none or it would lie outside."""
    found = (base / path.lstrip("/")).resolve()
    return found if found.is_file() and base.resolve() in found.parents else None


def _serve(request: Request, directory: str) -> None:
    found = below(request.root / directory, request.path)
    if found:
        request.file(found)
    else:
        request.answer(404, "Not Found\n")


def releases(request: Request) -> None:
    _serve(request, "releases")


def conda(request: Request) -> None:
    _serve(request, "conda")


@lru_cache(maxsize=None)
def _sha256(path: Path, mtime: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wheels(request: Request) -> None:
    """PEP 503: /simple/NAME/ lists the wheels in wheels/, /files/WHEEL is one."""
    directory = request.root / "wheels"
    if request.path.startswith("/files/"):
        request.path = request.path[len("/files/") :]
        return _serve(request, "wheels")
    match = re.fullmatch(r"/simple/([a-z0-9-]+)/?", request.path)
    found = [w for w in sorted(directory.glob("*.whl")) if match and w.name.split("-")[0].lower().replace("_", "-") == match.group(1)]
    if not found:
        return request.answer(404, "Not Found\n")
    links = "".join(
        f'<a href="/files/{w.name.replace("+", "%2B")}#sha256={_sha256(w, w.stat().st_mtime_ns)}">{html.escape(w.name)}</a><br>\n'
        for w in found
    )
    return request.answer(200, f"<!DOCTYPE html><html><body>\n{links}</body></html>\n", {"Content-Type": "text/html"})


def front(request: Request) -> None:
    """The site that REALITY pretends to be."""
    request.answer(200, "An ordinary web site of the lab.\n", {"Content-Type": "text/plain"})

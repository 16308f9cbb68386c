"""Hosts that only hand out files: the release mirror, the conda channel and the package index of fake wheels."""

from __future__ import annotations

import hashlib
import html
import re
from pathlib import Path
from urllib.parse import quote

from ..web import Request, Response, file_response, resolve_below, text


class WelcomeHost:
    """www.lab.test: the plain site that the gateway hides behind."""

    def handle(self, request: Request) -> Response:
        page = "<!doctype html><title>lab fake</title><p>This site is a fake of the sdops.webui lab.</p>\n"
        return text(200, page, "text/html; charset=utf-8")


class FilesHost:
    """Files below ``root`` (releases.lab.test, conda.lab.test).

    No ETag and no Last-Modified on purpose: py-rattler's solver does not survive a 304.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def handle(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return text(405, "Method Not Allowed", Allow="GET, HEAD")
        path = resolve_below(self.root, request.segments)
        if path is None:
            return text(404, f"{request.host} (lab fake): no such file.\n")
        return file_response(request, path)


class WheelsHost:
    """wheels.lab.test: a PEP 503 index over the wheels and source distributions in ``root``.

    Below /whl it is laid out as PyTorch's: an index for each build (/whl/cu121, /whl/cpu), which has the wheels with that label and,
    in all of them, a few versions of other packages (those in ``root``/whl).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hashes: dict[tuple[str, int], str] = {}

    def handle(self, request: Request) -> Response:
        parts = request.segments
        if request.method not in ("GET", "HEAD"):
            return text(405, "Method Not Allowed", Allow="GET, HEAD")
        if parts == ["simple"]:
            names = sorted({normalize_name(path.name.split("-")[0]) for path in self._files()})
            return self._page("".join(f'<a href="/simple/{name}/">{name}</a><br>\n' for name in names))
        if len(parts) == 2 and parts[0] == "simple":
            return self._project(normalize_name(parts[1]), self._files())
        if len(parts) == 3 and parts[0] == "whl":
            return self._project(normalize_name(parts[2]), self._build(parts[1]))
        if len(parts) in (2, 3) and parts[0] == "packages":
            path = resolve_below(self.root, parts[1:])
            if path:
                return file_response(request, path)
        return text(404, "wheels.lab.test (lab fake): 404 Not Found\n")

    def _files(self) -> list[Path]:
        return [*self.root.glob("*.whl"), *self.root.glob("*.tar.gz")]

    def _build(self, label: str) -> list[Path]:
        labelled = [path for path in self.root.glob("*.whl") if path.name.split("-")[1].endswith(f"+{label}")]
        return [*labelled, *(self.root / "whl").glob("*.whl")] if labelled else []

    def _project(self, name: str, files: list[Path]) -> Response:
        wheels = [path for path in sorted(files) if normalize_name(path.name.split("-")[0]) == name]
        if not wheels:
            return text(404, "wheels.lab.test (lab fake): 404 Not Found\n")
        links = (
            f'<a href="/packages/{quote(path.relative_to(self.root).as_posix())}#sha256={self._sha256(path)}">{html.escape(path.name)}</a><br>\n'
            for path in wheels
        )
        return self._page("".join(links))

    @staticmethod
    def _page(body: str) -> Response:
        head = '<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0"><title>lab fake index</title></head>'
        return text(200, f"{head}<body>\n{body}</body></html>\n", "text/html; charset=utf-8")

    def _sha256(self, path: Path) -> str:
        key = (path.name, path.stat().st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._hashes[key]


def normalize_name(name: str) -> str:
    """A project name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()

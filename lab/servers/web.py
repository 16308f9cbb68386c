"""Requests and responses of the lab servers: what the virtual hosts see and give back, free of sockets."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

CHUNK = 1 << 20
FAKE = "lab fake, not the real service"


@dataclass
class Request:
    """One request. ``raw_path`` is still percent-encoded; ``query`` keeps order and repeats."""

    method: str
    scheme: str
    host: str  # virtual host, lower case, without port
    authority: str  # the Host header as sent
    raw_path: str
    query_string: str
    headers: Message
    body: IO[bytes]
    client: str
    direct: bool = False  # True when the Host header is no lab name and the listener's default host answers
    link_life: float | None = None  # seconds that links signed for this request live, set by a fault

    @classmethod
    def target(cls, target: str) -> tuple[str, str]:
        """(path, query string) of a request target in origin or absolute form."""
        split = urlsplit(target) if "://" in target else urlsplit("//host" + target)
        return split.path or "/", split.query

    @property
    def segments(self) -> list[str]:
        """Decoded path segments; an encoded slash stays inside its segment."""
        return [unquote(part) for part in self.raw_path.strip("/").split("/")] if self.raw_path.strip("/") else []

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def origin(self) -> str:
        """scheme://host[:port] as the client wrote it."""
        return f"{self.scheme}://{self.authority}"

    def token(self) -> str | None:
        """The second word of Authorization (Bearer TOKEN), None without the header."""
        words = (self.headers.get("Authorization") or "").split()
        return words[1] if len(words) > 1 else None


@dataclass
class Slice(ABC):
    """``length`` bytes from ``start`` of something that is larger; streamed."""

    start: int
    length: int

    @abstractmethod
    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes, in pieces."""


@dataclass
class FileSlice(Slice):
    """Of a file."""

    path: Path

    def chunks(self) -> Iterator[bytes]:
        left = self.length
        with self.path.open("rb", buffering=0) as handle:
            handle.seek(self.start)
            while left:
                data = handle.read(min(CHUNK, left))
                if not data:
                    return
                left -= len(data)
                yield data


@dataclass
class BytesSlice(Slice):
    """Of bytes in memory."""

    data: bytes

    def chunks(self) -> Iterator[memoryview]:
        view = memoryview(self.data)[self.start : self.start + self.length]
        for place in range(0, self.length, CHUNK):
            yield view[place : place + CHUNK]


class Content(Protocol):
    """What can be served with ranges."""

    @property
    def size(self) -> int: ...

    def slice(self, start: int, length: int) -> Slice: ...

    def sha256(self) -> str: ...


@dataclass
class FileContent:
    """A file on disk."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def slice(self, start: int, length: int) -> FileSlice:
        return FileSlice(start, length, self.path)

    def sha256(self) -> str:
        with self.path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass
class BytesContent:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def slice(self, start: int, length: int) -> BytesSlice:
        return BytesSlice(start, length, self.data)

    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class Response:
    """``body``: bytes, a Slice (both with Content-Length) or an iterator (sent chunked)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Slice | Iterator[bytes] = b""

    @property
    def length(self) -> int | None:
        if isinstance(self.body, bytes):
            return len(self.body)
        return self.body.length if isinstance(self.body, Slice) else None

    def chunks(self) -> Iterator[bytes | memoryview]:
        if isinstance(self.body, bytes):
            return iter([self.body] if self.body else [])
        return self.body.chunks() if isinstance(self.body, Slice) else self.body


def text(status: int, body: str, content_type: str = "text/plain; charset=utf-8", **headers: str) -> Response:
    return Response(status, {"Content-Type": content_type, **_names(headers)}, body.encode())


def json_response(status: int, value: Any, **headers: str) -> Response:
    return text(status, json.dumps(value, ensure_ascii=False), "application/json; charset=utf-8", **headers)


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def content_type(name: str) -> str:
    """A type by suffix; fixed here because mimetypes reads files of the machine."""
    suffix = name.rsplit(".", 1)[-1].lower()
    return {
        "json": "application/json",
        "html": "text/html; charset=utf-8",
        "md": "text/plain; charset=utf-8",
        "txt": "text/plain; charset=utf-8",
        "dgst": "text/plain; charset=utf-8",
        "zip": "application/zip",
        "whl": "application/octet-stream",
        "zst": "application/zstd",
    }.get(suffix, "application/octet-stream")


def parse_range(value: str, size: int) -> tuple[int, int] | None | bool:
    """(first, last) of a single byte range; None when the header is to be ignored; False when it cannot be satisfied."""
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", value)
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = int(match[2])
        return (max(0, size - length), size - 1) if length and size else False
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    return (first, last) if first < size else False


def content_response(
    request: Request, content: Content, headers: dict[str, str] | None = None, ranges: bool = True
) -> Response:
    """The content, or the part that ``Range`` requests (206), or 416. ``headers`` may hold ETag for If-Range/If-None-Match."""
    size = content.size
    response_headers = {"Content-Type": "application/octet-stream", **(headers or {})}
    etag = response_headers.get("ETag")
    if etag and request.headers.get("If-None-Match") in (etag, "*"):
        return Response(304, {"ETag": etag})
    if not ranges:
        return Response(200, response_headers, content.slice(0, size))
    response_headers["Accept-Ranges"] = "bytes"
    requested_range = request.headers.get("Range")
    condition = request.headers.get("If-Range")
    if requested_range and (condition is None or condition == etag):
        span = parse_range(requested_range, size)
        if span is False:
            return Response(416, {"Content-Range": f"bytes */{size}", "Content-Type": "text/plain"}, b"")
        if isinstance(span, tuple):
            first, last = span
            response_headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            return Response(206, response_headers, content.slice(first, last - first + 1))
    return Response(200, response_headers, content.slice(0, size))


def file_response(request: Request, path: Path, headers: dict[str, str] | None = None, ranges: bool = True) -> Response:
    """``content_response`` for a file on disk, with a type by its name."""
    response_headers = {"Content-Type": content_type(path.name), **(headers or {})}
    return content_response(request, FileContent(path), response_headers, ranges)


def resolve_below(root: Path, parts: list[str]) -> Path | None:
    """root/parts when that is a file inside root, else None (``..``, links out and directories included)."""
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        return None
    path = root.joinpath(*parts)
    return path if path.is_file() and path.resolve().is_relative_to(root.resolve()) else None


class JsonFile:
    """A JSON file that is read again when it has changed; ``default`` while it is missing."""

    def __init__(self, path: Path, default: Any) -> None:
        self.path = path
        self.default = default
        self._seen: tuple[int, int] | None = None
        self._value = default

    def changed(self) -> bool:
        """Whether the file on disk is another than the one last read."""
        return self._stamp() != self._seen

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def read(self) -> Any:
        stamp = self._stamp()
        if stamp != self._seen:
            self._value = json.loads(self.path.read_text(encoding="utf-8")) if stamp else self.default
            self._seen = stamp
        return self._value

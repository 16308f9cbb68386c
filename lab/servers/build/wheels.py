"""Wheels and source distributions out of the trees of lab/fakes, written here, the same bytes every time."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from . import EPOCH, Builder, BuildError, fingerprint, source_files, write_atomic

# files of a tree that describe the wheel and are not installed as modules
DESCRIPTIVE = ("requires.txt", "entry_points.txt")
ZIP_DATE = (2026, 1, 1, 0, 0, 0)


def zip_bytes(members: dict[str, bytes], executable: frozenset[str] = frozenset(), store: bool = False) -> bytes:
    """A zip with fixed dates, modes and order, compressed little but fast."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if store else zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.create_system = 3
            info.external_attr = (0o100755 if name in executable else 0o100644) << 16
            bundle.writestr(info, data, bundle.compression, bundle.compresslevel)
    return out.getvalue()


def build(builder: Builder, entries: list[dict[str, Any]], fakes: Path) -> dict[str, Any]:
    """content/wheels/*.whl for every entry {"source", "name", "version", "tag"?, "summary"?, "requires_python"?, "replace"?, "folder"?}.

    ``replace`` maps texts of the tree to those of another version; ``folder`` is a directory below content/wheels.
    """
    folder = builder.content / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    built = {}
    for entry in entries:
        source = fakes / entry["source"]
        if not source.is_dir():
            raise BuildError(f"The fake tree {source} for the wheel {entry['name']} is missing.")
        target = folder / entry.get("folder", "") / file_name(entry)
        result = builder.part(
            f"wheel {target.name}",
            fingerprint(entry, source, Path(__file__)),
            [target],
            lambda entry=entry, source=source, target=target: _make(entry, source, target),  # type: ignore[misc]
        )
        built[target.name] = result
    for path in folder.rglob("*.whl"):
        if path.name not in built:
            path.unlink()
    return built


def file_name(entry: dict[str, Any]) -> str:
    return f"{_escape_name(entry['name'])}-{entry['version']}-{entry.get('tag', 'py3-none-any')}.whl"


def _escape_name(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name)


def _apply_replacements(entry: dict[str, Any], data: bytes) -> bytes:
    for old, new in entry.get("replace", {}).items():
        data = data.replace(old.encode(), new.encode())
    return data


def _make(entry: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    members: dict[str, bytes] = {}
    for path in source_files(source):
        name = path.relative_to(source).as_posix()
        if name not in DESCRIPTIVE:
            members[name] = _apply_replacements(entry, path.read_bytes())
    info = f"{_escape_name(entry['name'])}-{entry['version']}.dist-info"
    requires = source / "requires.txt"
    lines = _apply_replacements(entry, requires.read_bytes()).decode().splitlines() if requires.is_file() else []
    tag = entry.get("tag", "py3-none-any")
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {entry['name']}",
        f"Version: {entry['version']}",
        f"Summary: {entry.get('summary', 'Lab fake of ' + entry['name'] + ' for sdops.webui; not the real package.')}",
        f"Requires-Python: {entry.get('requires_python', '>=3.8')}",
        *(f"Requires-Dist: {line.strip()}" for line in lines if line.strip() and not line.lstrip().startswith("#")),
    ]
    pure = "true" if tag.endswith("-none-any") else "false"
    members[f"{info}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: sdops.webui lab\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode()
    )
    if (source / "entry_points.txt").is_file():
        members[f"{info}/entry_points.txt"] = (source / "entry_points.txt").read_bytes()
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in members.items()]
    members[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]) + "\n").encode()
    data = zip_bytes(members)
    write_atomic(target, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def build_sdists(builder: Builder, entries: list[dict[str, Any]], fakes: Path) -> dict[str, Any]:
    """content/wheels/*.tar.gz for every entry {"sources", "name", "version"}; the trees of ``sources`` are laid over each other."""
    folder = builder.content / "wheels"
    built = {}
    for entry in entries:
        trees = [fakes / source for source in entry["sources"]]
        for tree in trees:
            if not tree.is_dir():
                raise BuildError(f"The fake tree {tree} for the sources of {entry['name']} is missing.")
        target = folder / f"{entry['name']}-{entry['version']}.tar.gz"
        built[target.name] = builder.part(
            f"sdist {target.name}",
            fingerprint(entry, *trees, Path(__file__)),
            [target],
            lambda entry=entry, trees=trees, target=target: _make_sdist(entry, trees, target),  # type: ignore[misc]
        )
    return built


def _make_sdist(entry: dict[str, Any], trees: list[Path], target: Path) -> dict[str, Any]:
    top = f"{entry['name']}-{entry['version']}"
    about = f"Metadata-Version: 2.1\nName: {entry['name']}\nVersion: {entry['version']}\n"
    members = {"PKG-INFO": about.encode()}
    for tree in trees:
        for path in source_files(tree):
            name = path.relative_to(tree).as_posix()
            if name not in DESCRIPTIVE:
                members[name] = path.read_bytes()
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=EPOCH) as packed, tarfile.open(fileobj=packed, mode="w") as bundle:
        for name, data in members.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime, info.mode = len(data), EPOCH, 0o644
            bundle.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    write_atomic(target, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

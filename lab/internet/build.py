"""Make the content of the lab's world. What is there and has the same sources is kept."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from collections.abc import Callable
from typing import Any

from . import ca, conda, content

LAB = Path(__file__).resolve().parents[1]
XRAY_WHEEL = "xray-core==1.8.26.13"
XRAY_VERSION = "26.10.10"
EPOCH = (1980, 1, 1, 0, 0, 0)
FIXED = {
    "GIT_AUTHOR_NAME": "sdops lab",
    "GIT_AUTHOR_EMAIL": "lab@lab.test",
    "GIT_AUTHOR_DATE": "2024-07-27T12:00:00Z",
    "GIT_COMMITTER_NAME": "sdops lab",
    "GIT_COMMITTER_EMAIL": "lab@lab.test",
    "GIT_COMMITTER_DATE": "2024-07-27T12:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def fingerprint(*paths: Path) -> str:
    """One hash over the names and bytes of files and trees."""
    digest = hashlib.sha256()
    for base in paths:
        for path in sorted(base.rglob("*")) if base.is_dir() else [base]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(base.parent) if base.is_dir() else path.name} {os.access(path, os.X_OK)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def once(mark: Path, key: str, make: Callable[[], Any]) -> Any:
    """``make()`` unless ``mark`` says that it was done for ``key``; its JSON result is kept in the mark."""
    key += fingerprint(Path(__file__))  # how it is made counts too
    if mark.exists():
        kept = json.loads(mark.read_text())
        if kept["key"] == key:
            return kept["result"]
    result = make()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"key": key, "result": result}))
    return result


def repository(source: Path, target: Path, tag: str | None) -> str:
    """A bare repository with one commit of ``source``; returns the commit, the same one on every machine."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        work = Path(scratch) / "work"
        shutil.copytree(source, work, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))

        def git(*arguments: str, where: Path = work) -> str:
            done = subprocess.run(["git", *arguments], cwd=where, env={**os.environ, **FIXED}, check=True, capture_output=True, text=True)
            return done.stdout.strip()

        git("init", "--quiet", "--initial-branch=master")
        git("add", "--all", "--force")
        git("commit", "--quiet", "--message", "sdops lab stand-in")
        if tag:
            git("tag", tag)
        git("clone", "--quiet", "--bare", str(work), str(target))
        for name in ("uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter"):
            git("config", name, "true", where=target)
        return git("rev-parse", "HEAD")


def wheel(source: Path, name: str, version: str, directory: Path) -> str:
    """A pure Python wheel of the packages in ``source`` (``requires.txt`` there lists its requirements)."""
    directory.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    target = directory / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    files = {
        str(p.relative_to(source)): p.read_bytes()
        for p in sorted(source.rglob("*"))
        if p.is_file() and "__pycache__" not in p.parts and p.name != "requires.txt"
    }
    requires = (source / "requires.txt").read_text().split("\n") if (source / "requires.txt").exists() else []
    files[f"{info}/METADATA"] = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Summary: sdops lab stand-in"]
        + [f"Requires-Dist: {r}" for r in requires if r.strip()]
        + [""]
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: sdops-lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = ""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for path, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
            out.writestr(zipfile.ZipInfo(path, EPOCH), data)
        out.writestr(zipfile.ZipInfo(f"{info}/RECORD", EPOCH), record + f"{info}/RECORD,,\n")
    return target.name


def xray_core(target: Path, python: str) -> None:
    """Unpack the wheel with the real core for ``python`` ("3.11") and put the launcher beside it: ``target``/xray."""
    shutil.rmtree(target, ignore_errors=True)
    core = target / "core"
    core.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", python, "--dest", scratch, XRAY_WHEEL]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as bundle:
            bundle.extractall(core)


def release(directory: Path, core: Path) -> None:
    """The release as the project's own server has it: the zip and its .dgst."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "Xray-linux-64.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(core.rglob("*")):
            if path.is_file():
                out.writestr(zipfile.ZipInfo(str(path.relative_to(core)), EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
        note = "A stand-in of the sdops lab: a launcher around the real core of the PyPI package xray-core (MPL-2.0).\n"
        out.writestr(zipfile.ZipInfo("README.md", EPOCH), note)
    data = target.read_bytes()
    sums = (("MD5", "md5"), ("SHA1", "sha1"), ("SHA2-256", "sha256"), ("SHA2-512", "sha512"))
    (directory / "Xray-linux-64.zip.dgst").write_text("".join(f"{label}= {hashlib.new(name, data).hexdigest()}\n" for label, name in sums))


def build(work: Path, root: Path | None, shebang: str, launcher_python: str) -> dict[str, Any]:
    """Everything below ``work``: ca/ and world/. Returns what the lab has to tell the inventory."""
    world, marks = work / "world", work / "marks"
    ca.make(work / "ca")
    manifest = json.loads((LAB / "standins" / "manifest.json").read_text())
    commits = {}
    for entry in manifest["repositories"]:
        source, name = LAB / "standins" / entry["source"], entry["repository"]
        target = world / "git" / f"{name}.git"
        mark = marks / f"git-{name.replace('/', '-')}.json"
        commits[name] = once(mark, fingerprint(source), lambda s=source, t=target, e=entry: repository(s, t, e.get("tag")))
    for entry in manifest["wheels"]:
        source = LAB / "standins" / entry["source"]
        mark = marks / f"wheel-{entry['name']}.json"
        key = fingerprint(source) + entry["version"]
        once(mark, key, lambda s=source, e=entry: wheel(s, e["name"], e["version"], world / "wheels"))
    key = fingerprint(Path(content.__file__))
    once(marks / "content.json", key, lambda: [content.hub(world), content.civitai(world)])

    core = work / "xray"
    key = f"{XRAY_WHEEL} {launcher_python} {shebang} {fingerprint(LAB / 'core')}"

    def make_xray() -> None:
        xray_core(core, launcher_python)
        text = (LAB / "core" / "launcher.py").read_text().split("\n", 1)[1]
        (core / "xray").write_text(f"{shebang}\n{text}")
        (core / "xray").chmod(0o755)
        release(world / "releases" / "XTLS/Xray-core/releases/download" / f"v{XRAY_VERSION}", core)

    once(marks / "xray.json", key, make_xray)
    interpreter = conda.Interpreter(root)
    conda.build(world / "conda" / "conda-forge", interpreter)
    return {"commits": commits, "python": interpreter.version, "xray": XRAY_VERSION}

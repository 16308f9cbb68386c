"""Channels of real (tiny) packages, and a conda program that is a stand-in but strict where the real one is."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path

from rattler.index import index_fs

VERSION = platform.python_version()  # of the one Python that can be had here
# it answers as the real interpreter does, because it is one
PYTHON = '#!/bin/sh\n# stand-in package: the interpreter that runs the tests\nexec %s "$@"\n' % sys.executable
OTHER = "#!/bin/sh\n# stand-in package: a Python that knows nothing but its version\necho %s\n"

STANDIN = r'''#!%(python)s
"""Stand-in for conda %(flavour)s (not the real program): the options, outputs and refusals that matter here."""
import json, os, sys
FLAVOUR, ROOT, HERE = %(flavour)r, %(root)r, os.path.dirname(os.path.abspath(__file__))
args = sys.argv[1:]
with open(os.path.join(HERE, "calls.jsonl"), "a") as log:
    print(json.dumps({"args": args, "env": dict(os.environ)}), file=log)

def take(*names, many=False):
    found = []
    while any(n in args for n in names):
        i = next(i for i, a in enumerate(args) if a in names)
        found.append(args[i + 1])
        del args[i:i + 2]
    return found if many else (found or [None])[-1]

def flag(*names):
    hit = [n for n in names if n in args]
    for n in hit:
        args.remove(n)
    return bool(hit)

def fail(name, message):
    print(json.dumps({"error": message, "exception_name": name, "message": message}))
    sys.exit(1)

prefix, channels = take("-p", "--prefix"), take("-c", "--channel", many=True)
asjson, yes, override = flag("--json"), flag("-y", "--yes"), flag("--override-channels")
if args == ["env", "list"]:
    envs = [ROOT] + [os.path.join(ROOT, "envs", e) for e in sorted(os.listdir(os.path.join(ROOT, "envs")))]
    print(json.dumps({"envs": envs}))
elif args == ["info"]:
    key = "envs_dirs" if FLAVOUR == "conda" else "envs directories"
    print(json.dumps({key: [os.path.join(ROOT, "envs")], "conda_version": "26.7.1"}))
elif args[:1] == ["install"] and yes and override and channels:
    specs = args[1:]
    if "defaults" in channels and not os.environ.get("CI"):
        fail("CondaToSNonInteractiveError", "Terms of Service have not been accepted for the following channels.")
    if not os.path.isfile(os.path.join(prefix, "conda-meta", "history")):
        fail("DirectoryNotACondaEnvironmentError", "The target directory exists, but it is not a conda environment.")
    sys.stdout.write(json.dumps({"fetch": "x", "finished": False, "progress": 0.5}) + "\0")
    for spec in specs:
        name, _, version = spec.partition("=")
        if name == "nowhere":
            fail("PackagesNotFoundError", "The following packages are not available from current channels:\n  - nowhere")
        if name == "slow":
            import time
            open(os.path.join(HERE, "slow"), "w").close()
            time.sleep(60)
        if name == "python":
            os.makedirs(os.path.join(prefix, "bin"), exist_ok=True)
            path = os.path.join(prefix, "bin", "python")
            with open(path, "w") as handle:
                handle.write(%(script)r)
            os.chmod(path, 0o755)
        with open(os.path.join(prefix, "conda-meta", name + "-0.json"), "w") as handle:
            json.dump({"name": name, "version": version or "1.0", "build": "0"}, handle)
    with open(os.path.join(prefix, "conda-meta", "history"), "a") as handle:
        handle.write("==> install <==\n")
    print(json.dumps({"success": True, "prefix": prefix, "actions": {"LINK": []}}))
else:
    fail("CommandArgumentError", "unknown or unsafe command: %%s" %% sys.argv[1:])
'''


def standin(directory: Path, flavour: str = "conda", script: str = PYTHON) -> Path:
    """A program called ``flavour`` in ``directory``; its root prefix lies beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    root = directory.parent / (flavour + "-root")
    (root / "envs").mkdir(parents=True, exist_ok=True)
    path = directory / flavour
    path.write_text(STANDIN % {"python": sys.executable, "flavour": flavour, "root": str(root), "script": script})
    path.chmod(0o755)
    return path


def calls(program: Path) -> list[dict]:
    return [json.loads(line) for line in (program.parent / "calls.jsonl").read_text().splitlines()]


def package(channel: Path, name: str, version: str, files: dict[str, str], depends: tuple[str, ...] = ()) -> None:
    """A real .tar.bz2 conda package for this platform."""
    where = channel / "linux-64"
    where.mkdir(parents=True, exist_ok=True)
    (channel / "noarch").mkdir(exist_ok=True)
    index = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": list(depends),
        "subdir": "linux-64",
    }
    paths = [
        {
            "_path": n,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(t.encode()).hexdigest(),
            "size_in_bytes": len(t.encode()),
        }
        for n, t in files.items()
    ]
    content = {
        **files,
        "info/index.json": json.dumps({**index, "arch": None, "platform": None}),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
        "info/files": "".join(n + "\n" for n in files),
    }
    with tarfile.open(where / f"{name}-{version}-0.tar.bz2", "w:bz2") as archive:
        for key, text in content.items():
            entry = tarfile.TarInfo(key)
            entry.size, entry.mode = len(text.encode()), 0o755 if key.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))


def channel(root: Path) -> Path:
    """A channel called conda-forge under ``root``: python (this one and another), and two small things."""
    where = root / "conda-forge"
    package(where, "python", VERSION, {"bin/python": PYTHON}, ("libfake",))
    package(where, "python", "3.9.1", {"bin/python": OTHER % "3.9.1"})
    package(where, "libfake", "1.2", {"lib/libfake.so": "not really\n"})
    package(where, "ffmpeg", "6.1", {"bin/ffmpeg": "#!/bin/sh\necho 6.1\n"}, ("libfake",))
    asyncio.run(index_fs(str(where)))
    return where

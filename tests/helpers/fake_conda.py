"""Channels of real (tiny) packages, and a conda program that is a fake but strict where the real one is."""

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
PYTHON = f'#!/bin/sh\n# fake package: the interpreter that runs the tests\nexec {sys.executable} "$@"\n'
OTHER = "#!/bin/sh\n# fake package: a Python that knows nothing but its version\necho %s\n"

FAKE_CONDA = r'''#!%(python)s
"""Fake of conda %(flavour)s (not the real program): the options, outputs and refusals that matter here."""
import json, os, shutil, subprocess, sys
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

command = args[args.index("--") + 1:] if "--" in args else []
del args[args.index("--") if "--" in args else len(args):]
name, prefix, channels = take("-n", "--name"), take("-p", "--prefix"), take("-c", "--channel", many=True)
prefix = os.path.join(ROOT, "envs", name) if name else prefix
asjson, yes, override = flag("--json"), flag("-y", "--yes"), flag("--override-channels")
flag("-q", "--quiet")
if args == ["env", "list"]:
    envs = [ROOT] + [os.path.join(ROOT, "envs", e) for e in sorted(os.listdir(os.path.join(ROOT, "envs")))]
    details = {"envs_details": {e: {"name": os.path.basename(e), "base": e == ROOT} for e in envs}}
    print(json.dumps({"envs": envs, **(details if FLAVOUR == "conda" else {})}))
elif args == ["info"] and FLAVOUR == "conda":
    print(json.dumps({
        "conda_version": "26.7.1", "root_prefix": ROOT, "envs_dirs": [os.path.join(ROOT, "envs")], "channels": [],
        "platform": "linux-64"}))
elif args == ["info"]:
    print(json.dumps({
        "libmamba version": "2.3.3", FLAVOUR + " version": "2.3.3", "envs directories": [os.path.join(ROOT, "envs")],
        "base environment": ROOT, "channels": [], "platform": "linux-64"}))
elif args == ["list"]:
    if not os.path.isdir(os.path.join(prefix, "conda-meta")):
        fail("EnvironmentLocationNotFound", "Not a conda environment: " + prefix)
    found = []
    for file in sorted(f for f in os.listdir(os.path.join(prefix, "conda-meta")) if f.endswith(".json")):
        with open(os.path.join(prefix, "conda-meta", file)) as handle:
            record = json.load(handle)
        entry = {"name": record["name"], "version": record["version"], "build_string": record["build"], "channel": "x"}
        found.append({**entry, **({} if FLAVOUR == "conda" else {"url": "x", "md5": "x", "sha256": "x"})})
    print(json.dumps(found))
elif args[:1] == ["run"] and command:
    sys.exit(subprocess.run(command, env={**os.environ, "PATH": os.path.join(prefix, "bin") + ":" + os.environ["PATH"]}).returncode)
elif args[:1] in (["install"], ["create"]) and channels and (yes or args[0] == "create") and (override or args[0] == "create"):
    specs = args[1:]
    # these channels, by name or URL, have terms; mamba and micromamba do not know of them
    asked = [c for c in channels if c == "defaults" or "repo.anaconda.com/pkgs/" in c]
    if asked and FLAVOUR == "conda" and not (os.environ.get("CI") or os.environ.get("CONDA_PLUGINS_AUTO_ACCEPT_TOS")):
        fail("CondaToSNonInteractiveError",
             "Terms of Service have not been accepted for the following channels. Please accept or remove them: %%s" %% asked)
    if args[0] == "create":
        # as the real one: over an environment that exists it asks, and with --yes removes it and recreates it
        if os.path.isdir(prefix) and os.listdir(prefix):
            if not yes:
                fail("CondaSystemExit", "WARNING: A conda environment already exists at '%%s'. Remove it?" %% prefix)
            shutil.rmtree(prefix)
        os.makedirs(os.path.join(prefix, "conda-meta"), exist_ok=True)
        open(os.path.join(prefix, "conda-meta", "history"), "a").close()
    if not os.path.isfile(os.path.join(prefix, "conda-meta", "history")):
        fail("DirectoryNotACondaEnvironmentError", "The target directory exists, but it is not a conda environment.")
    sys.stdout.write(json.dumps({"fetch": "x", "finished": False, "progress": 0.5}) + "\0")
    for spec in specs:
        name, _, version = spec.partition("=")
        if name == "nowhere":
            fail("PackagesNotFoundError", "The following packages are not available from current channels:\n  - nowhere")
        if name == "slow":
            import time
            # in the middle of things there is no Python that runs
            os.path.exists(os.path.join(prefix, "bin", "python")) and os.unlink(os.path.join(prefix, "bin", "python"))
            open(os.path.join(HERE, "slow"), "w").write(str(os.getpid()))
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


def fake_conda(directory: Path, flavour: str = "conda", script: str = PYTHON) -> Path:
    """A program called ``flavour`` in ``directory``; its root prefix lies beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    root = directory.parent / (flavour + "-root")
    (root / "envs").mkdir(parents=True, exist_ok=True)
    path = directory / flavour
    path.write_text(FAKE_CONDA % {"python": sys.executable, "flavour": flavour, "root": str(root), "script": script})
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

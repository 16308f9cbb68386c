"""The Xray release of the lab's mirror: our launcher with the real core of a PyPI wheel, packed like an upstream release."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ...xray import launcher
from . import Builder, BuildError, fingerprint, write_atomic
from .wheels import zip_bytes

LAUNCHER = Path(launcher.__file__)
VERSION = launcher.UPSTREAM_VERSION
REQUIREMENT = f"xray-core=={launcher.WHEEL_VERSION}"
README = f"""# lab fake of an Xray-core release

`xray` is a small launcher of the sdops.webui lab, not the program that XTLS releases. The core that it runs (core/xray) is
real: the extension module of the PyPI package {REQUIREMENT}, built from Xray-core {VERSION} (Mozilla Public License 2.0).
No geoip.dat and no geosite.dat are in here; small ones lie in geo/ of the release mirror.
"""


def build(builder: Builder, shebang: str, python: str) -> dict[str, Any]:
    """The zip and .dgst below content/releases, and work/xray/ with the same files unpacked, for the gateway.

    ``python`` ("3.11") names the Python that the core is for; ``shebang`` begins the launcher.
    """
    if not shebang.startswith("#!"):
        raise BuildError(f"The launcher's first line must begin with #!, not {shebang!r}.")
    folder = builder.content / "releases" / "XTLS" / "Xray-core" / "releases" / "download" / f"v{VERSION}"
    archive = folder / "Xray-linux-64.zip"
    program = builder.work / "xray" / "xray"
    geo = builder.content / "releases" / "geo"

    def make() -> dict[str, Any]:
        members = {"xray": launcher_text(shebang), "README.md": README.encode()}
        for name, data in core_files(builder.work / "cache", python).items():
            members["LICENSE" if name.endswith("/licenses/LICENSE") else name] = data
        data = zip_bytes(members, frozenset({"xray"}))
        write_atomic(archive, data)
        write_atomic(archive.with_name(archive.name + ".dgst"), dgst(data).encode())
        write_atomic(geo / "geosite.dat", geosite("lab-domestic", "conda.lab.test"))
        write_atomic(geo / "geoip.dat", geoip("lab-domestic", bytes([10, 0, 0, 0]), 8))
        shutil.rmtree(program.parent, ignore_errors=True)  # the core of another Python may lie there
        for name, content in members.items():
            write_atomic(program.parent / name, content, 0o755 if name == "xray" else 0o644)
        return {
            "version": VERSION,
            "program": str(program),
            "zip": str(archive),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }

    stamp = fingerprint(shebang, python, LAUNCHER, Path(__file__), str(builder.work))
    return builder.part(
        "xray", stamp, [archive, archive.with_name(archive.name + ".dgst"), program, geo / "geoip.dat"], make
    )


def _field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message; numbers and lengths below 128 only."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def geosite(name: str, domain: str) -> bytes:
    """A geosite.dat of one list with one domain and all below it (Xray's GeoSiteList)."""
    entry = _field(1, 2) + _field(2, domain.encode())
    return _field(1, _field(1, name.upper().encode()) + _field(2, entry))


def geoip(name: str, network: bytes, prefix: int) -> bytes:
    """A geoip.dat of one list with one network (Xray's GeoIPList)."""
    entry = _field(1, network) + _field(2, prefix)
    return _field(1, _field(1, name.upper().encode()) + _field(2, entry))


def launcher_text(shebang: str) -> bytes:
    return (shebang + "\n" + LAUNCHER.read_text(encoding="utf-8").split("\n", 1)[1]).encode()


def dgst(data: bytes) -> str:
    """The digests as upstream's release workflow writes them with OpenSSL 3."""
    labels = {"MD5": "md5", "SHA1": "sha1", "SHA2-256": "sha256", "SHA2-512": "sha512"}
    return "".join(f"{label}= {hashlib.new(name, data).hexdigest()}\n" for label, name in labels.items())


def core_files(cache: Path, python: str) -> dict[str, bytes]:
    """core/xray/* and the licence, from the installed package when it fits, else from the wheel on the package index."""
    if python == ".".join(map(str, sys.version_info[:2])):
        try:
            package = importlib.metadata.distribution("xray-core")
        except importlib.metadata.PackageNotFoundError:
            package = None
        if package and package.version == launcher.WHEEL_VERSION:
            files = {str(path): Path(str(path.locate())) for path in package.files or []}
            return _as_members({name: path.read_bytes() for name, path in files.items() if _is_packed(name)})
    with zipfile.ZipFile(download(cache, python)) as bundle:
        return _as_members({name: bundle.read(name) for name in bundle.namelist() if _is_packed(name)})


def _is_packed(name: str) -> bool:
    return (name.startswith("xray/") and name.endswith((".py", ".so"))) or name.endswith(".dist-info/licenses/LICENSE")


def _as_members(files: dict[str, bytes]) -> dict[str, bytes]:
    if not any(name.endswith(".so") for name in files):
        raise BuildError(f"{REQUIREMENT} holds no extension module; the lab's xray cannot be made from it.")
    return {f"core/{name}" if name.startswith("xray/") else name: files[name] for name in sorted(files)}


def download(cache: Path, python: str) -> Path:
    """The wheel for ``python``, by pip with the settings of this machine; kept in ``cache``."""
    folder = cache / f"xray-core-{launcher.WHEEL_VERSION}-py{python}"
    found = list(folder.glob("*.whl"))
    if found:
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--python-version", python, "--implementation", "cp", "--dest", scratch, REQUIREMENT]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            raise BuildError(f"{REQUIREMENT} for Python {python} could not be fetched: {done.stderr.strip()[-600:]}")
        return wheels[0].replace(folder / wheels[0].name)

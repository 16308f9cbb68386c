# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xray-core releases: the right asset, verified, unpacked safely, one directory for each version."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import zipfile
from typing import List, NamedTuple, Optional, Tuple

from ..errors import SdopsError
from ..process import run
from ..transfer.http import Http, TransferError, cause, said, scrub

# uname -m to the name in the release's assets (source: the release workflow of XTLS/Xray-core)
ASSETS = {
    "x86_64": "Xray-linux-64",
    "amd64": "Xray-linux-64",
    "aarch64": "Xray-linux-arm64-v8a",
    "arm64": "Xray-linux-arm64-v8a",
    "armv7l": "Xray-linux-arm32-v7a",
    "i686": "Xray-linux-32",
    "riscv64": "Xray-linux-riscv64",
    "loongarch64": "Xray-linux-loong64",
    "s390x": "Xray-linux-s390x",
    "ppc64le": "Xray-linux-ppc64le",
}
MAX_UNPACKED = 500 * 1024 * 1024


class XrayError(SdopsError):
    """Xray-core cannot be got, is not what it should be, or does not run."""


class Release(NamedTuple):
    """What is wanted: version ("26.7.28"), where releases lie (in the order they are tried), optional pinned SHA-256, optional
    zip on the target."""

    version: str
    bases: List[str]
    sha256: Optional[str] = None
    file: Optional[str] = None

    def url(self, base: str) -> str:
        machine = platform.machine()
        if machine not in ASSETS:
            raise XrayError("There is no Xray-core release for the architecture %s." % machine)
        return "%s/v%s/%s.zip" % (base.rstrip("/"), self.version, ASSETS[machine])


def installed_version(program: str) -> Optional[str]:
    """What ``program version`` says, None when it does not run."""
    if not os.access(program, os.X_OK):
        return None
    done = run([program, "version"], timeout=30)
    match = re.match(r"Xray (\S+)", done.out)
    return match.group(1) if done.rc == 0 and match else None


def dgst_sha256(text: str) -> str:
    """The SHA-256 in a ``.dgst`` file (lines such as "SHA2-256= HEX"; OpenSSL 1.1 wrote "SHA256= HEX")."""
    match = re.search(r"(?m)^SHA2?-?256=\s*([0-9a-fA-F]{64})\s*$", text)
    if not match:
        raise XrayError("The .dgst file beside the release has no SHA-256 line; give xray_proxy_sha256 instead.")
    return match.group(1).lower()


class Installer:
    """Installs releases below ``dest``: dest/VERSION/ and the link dest/current. ``timeout`` in seconds."""

    def __init__(
        self, dest: str, ca_path: Optional[str] = None, proxy: Optional[str] = None, timeout: float = 60
    ) -> None:
        self.dest = dest
        self.http_options = {"ca_path": ca_path, "proxy": proxy, "timeout": timeout, "retries": 1}

    def program(self, version: str) -> str:
        return os.path.join(self.dest, version, "xray")

    def current(self) -> Optional[str]:
        try:
            return os.readlink(os.path.join(self.dest, "current"))
        except OSError:
            return None

    def _get(self, http: Http, url: str, sink: str) -> str:
        """Download ``url`` into the file ``sink``; returns the SHA-256 of the bytes."""
        digest = hashlib.sha256()
        answer = http.request("GET", url, stream=True)
        with answer, open(sink, "wb") as out:
            if answer.status_code != 200:
                raise TransferError("%s answered %d: %s" % (scrub(url), answer.status_code, said(answer) or "nothing"))
            try:
                for chunk in answer.iter_content(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
            except Exception as exc:  # urllib3 and http.client have many
                raise TransferError("%s broke off: %s" % (scrub(url), cause(exc, http.timeout))) from None
        return digest.hexdigest()

    def _download(self, release: Release, archive: str) -> Tuple[str, str]:
        """Fetch the zip from the first base that gives it; (its SHA-256, that base). Raises XrayError."""
        http = Http(**self.http_options)
        failures = []
        for base in release.bases:
            url = release.url(base)
            try:
                have = self._get(http, url, archive)
                if not release.sha256:
                    self._get(http, url + ".dgst", archive + ".dgst")
                return have, base
            except TransferError as exc:
                failures.append(str(exc).rstrip("."))
        raise XrayError(
            "Xray-core %s could not be fetched: %s. Set xray_proxy_release_base to a mirror with the same paths, let the "
            "controller fetch it (xray_proxy_via_controller), or give the zip (xray_proxy_controller_zip, xray_proxy_file)."
            % (release.version, "; ".join(failures))
        )

    def install(self, release: Release) -> Tuple[str, str]:
        """Bring the release in and make it current; (where it came from, what its hash was held against).

        Raises XrayError; what was there before stays in use then.
        """
        via, verified = "installed", ""
        os.makedirs(self.dest, exist_ok=True)
        work = tempfile.mkdtemp(prefix=".incoming-", dir=self.dest)
        try:
            if installed_version(self.program(release.version)) != release.version:
                archive = release.file or os.path.join(work, "xray.zip")
                want = release.sha256.lower() if release.sha256 else None
                if release.file:
                    have, via = sha256_of(release.file), release.file
                else:
                    have, via = self._download(release, archive)
                verified = "sha256" if want else ""
                digest = (release.file or archive) + ".dgst"
                if want is None and os.path.exists(digest):
                    verified = "dgst"
                    with open(digest, encoding="utf-8", errors="replace") as handle:
                        want = dgst_sha256(handle.read())
                if want is not None and have != want:
                    raise XrayError(
                        "The SHA-256 of %s is %s, but %s is wanted. It was not installed: it is damaged, or not what it claims "
                        "to be." % (release.file or release.url(via), have, want)
                    )
                unpacked = os.path.join(work, "unpacked")
                unpack(archive, unpacked)
                says = installed_version(os.path.join(unpacked, "xray"))
                if says != release.version:
                    raise XrayError(
                        "The Xray-core in %s says it is %s, not %s."
                        % (release.file or release.url(via), says or "not runnable", release.version)
                    )
                final = os.path.join(self.dest, release.version)
                shutil.rmtree(final, ignore_errors=True)
                os.rename(unpacked, final)
            link = os.path.join(work, "current")
            os.symlink(release.version, link)
            os.replace(link, os.path.join(self.dest, "current"))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return via, verified


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for chunk in iter(lambda: handle.read(1 << 20), b""):
                digest.update(chunk)
    except OSError as exc:
        raise XrayError("%s cannot be read: %s." % (path, exc.strerror)) from exc
    return digest.hexdigest()


def unpack(archive: str, target: str) -> None:
    """Unpack a zip whose every member stays inside ``target``; no links, bounded size; ``xray`` becomes executable."""
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = bundle.infolist()
            if sum(m.file_size for m in members) > MAX_UNPACKED:
                raise XrayError(
                    "%s would unpack to more than %d MB; that is no Xray-core release." % (archive, MAX_UNPACKED >> 20)
                )
            for member in members:
                name = member.filename
                if (
                    name.startswith("/")
                    or ".." in name.split("/")
                    or "\\" in name
                    or stat.S_ISLNK(member.external_attr >> 16)
                ):
                    raise XrayError("%s holds the unsafe path %r and was not unpacked." % (archive, name))
            bundle.extractall(target)
    except (zipfile.BadZipFile, OSError) as exc:
        raise XrayError("%s cannot be unpacked: %s." % (archive, exc)) from exc
    program = os.path.join(target, "xray")
    if not os.path.isfile(program):
        raise XrayError("%s holds no xray program." % archive)
    os.chmod(program, 0o755)  # releases do not promise the mode bits

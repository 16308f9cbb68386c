# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xray-core releases: the right asset, verified, unpacked safely, one directory for each version."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import zipfile
from typing import Any, NamedTuple

from ..errors import ProcessError, SdopsError, TransferError, XrayError
from ..filesystem import locked_if_possible, sha256_of, write_atomic
from ..models.download_cache import ensure_writable, find_cache_path, is_cached
from ..process import run
from ..transfer.connection_errors import describe_connection_error
from ..transfer.http import HttpClient
from ..transfer.remote_file import RemoteFile
from ..transfer.responses import response_summary
from ..urls import redact_url

# uname -m to the name in the release's assets (source: the release workflow of XTLS/Xray-core)
ASSET_NAMES = {
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
# upstream's own place: only what it says of a release vouches for that release, wherever the zip itself comes from
UPSTREAM_RELEASES = "https://github.com/XTLS/Xray-core/releases/download"
MAX_DIGEST = 64 * 1024
MAX_ZIP = 200 * 1024 * 1024  # a release has some 15 MB
MAX_UNPACKED = 500 * 1024 * 1024


def find_asset_name(machine: str) -> str:
    """The name of the release's zip, without .zip, for what ``uname -m`` says. Raises XrayError."""
    if machine not in ASSET_NAMES:
        raise XrayError(
            "There is no Xray-core release for the architecture {!r}; there are some for {}. Set sdops_network to a route without "
            "Xray (direct, mirrors, turbo) on this host.".format(machine, ", ".join(sorted(ASSET_NAMES)))
        )
    return ASSET_NAMES[machine]


def strip_version_prefix(version: str) -> str:
    """``26.7.28`` of ``v26.7.28``, as tags are written."""
    return version[1:] if version.startswith("v") else version


class ReleaseSpec(NamedTuple):
    """What to install: version ("26.7.28"), where releases lie (in the order they are tried), the zip's SHA-256 where it is
    known, where upstream itself reports it else, optional zip on the target, architecture (``uname -m``; empty is this one)."""

    version: str
    bases: list[str]
    sha256: str | None = None
    digest_base: str = UPSTREAM_RELEASES
    file: str | None = None
    machine: str = ""

    def url(self, base: str) -> str:
        return "{}/v{}/{}.zip".format(
            base.rstrip("/"), self.version, find_asset_name(self.machine or platform.machine())
        )


def query_version(program_path: str) -> str | None:
    """What ``program version`` says, None when it does not run: it is missing, damaged or for another machine."""
    if not os.access(program_path, os.X_OK):
        return None
    try:
        done = run([program_path, "version"], timeout=30)
    except ProcessError:
        return None
    match = re.match(r"Xray (\S+)", done.out)
    return match.group(1) if done.rc == 0 and match else None


def parse_dgst(text: str, name: str) -> str:
    """The SHA-256 in a ``.dgst`` file (lines such as "SHA2-256= HEX"; OpenSSL 1.1 wrote "SHA256= HEX")."""
    match = re.search(r"(?m)^SHA2?-?256=\s*([0-9a-fA-F]{64})\s*$", text)
    if not match:
        raise XrayError(f"{name}.dgst has no SHA-256 line; give xray_proxy_sha256 instead.")
    return match.group(1).lower()


class XrayInstaller:
    """Installs releases below ``dest``: dest/VERSION/ and the link dest/current. ``timeout`` in seconds.

    ``cache_dir``: a cache of files by their SHA-256, which other hosts may share.
    """

    def __init__(
        self,
        dest: str,
        ca_path: str | None = None,
        proxy: str | None = None,
        timeout: float = 60,
        cache_dir: str | None = None,
    ) -> None:
        self.dest = dest
        self.cache_dir = cache_dir
        self.http_options: dict[str, Any] = {"ca_path": ca_path, "proxy": proxy, "timeout": timeout, "retries": 1}

    def program_path(self, version: str) -> str:
        return os.path.join(self.dest, version, "xray")

    def current_version(self) -> str | None:
        try:
            return os.readlink(os.path.join(self.dest, "current"))
        except OSError:
            return None

    def _download_file(self, http: HttpClient, url: str, sink: str) -> str:
        """Download ``url`` into the file ``sink``; returns the SHA-256 of the bytes. Raises TransferError beyond MAX_ZIP bytes."""
        digest = hashlib.sha256()
        answer = http.request("GET", url, stream=True)
        with answer, open(sink, "wb") as out:
            if answer.status_code != 200:
                raise TransferError(
                    "{} answered {}: {}".format(
                        redact_url(url), answer.status_code, response_summary(answer) or "nothing"
                    )
                )
            left = MAX_ZIP
            try:
                # not iter_content: it reads the line with a chunk's length whole, however long it is
                for chunk in iter(lambda: answer.raw.read(1 << 20, decode_content=False), b""):
                    left -= len(chunk)
                    if left < 0:
                        break
                    digest.update(chunk)
                    out.write(chunk)
            except Exception as exc:  # urllib3 and http.client have many
                raise TransferError(
                    f"{redact_url(url)} broke off: {describe_connection_error(exc, http.timeout)}"
                ) from None
            if left < 0:
                raise TransferError(
                    f"{redact_url(url)} sends more than {MAX_ZIP >> 20} MB; that is no Xray-core release."
                )
        return digest.hexdigest()

    def expected_sha256(self, release: ReleaseSpec) -> tuple[str, str]:
        """(SHA-256 that the zip must have, where it is from: ``sha256`` for the one that was given, ``dgst`` for upstream's).

        A mirror is not asked: whoever replaces its zip replaces the ``.dgst`` beside it too. Raises XrayError.
        """
        if release.sha256:
            return release.sha256.lower(), "sha256"
        url = release.url(release.digest_base) + ".dgst"
        try:
            with HttpClient(**self.http_options).request("GET", url, stream=True) as answer:
                if answer.status_code != 200:
                    raise TransferError(
                        "{} answered {}: {}".format(
                            redact_url(url), answer.status_code, response_summary(answer) or "nothing"
                        )
                    )
                text = answer.raw.read(MAX_DIGEST, decode_content=True).decode("utf-8", "replace")
            return parse_dgst(text, redact_url(release.url(release.digest_base))), "dgst"
        except Exception as exc:  # urllib3 and http.client have many
            why = str(exc) if isinstance(exc, SdopsError) else describe_connection_error(exc, 60)
            raise XrayError(
                "The SHA-256 of Xray-core {} is not known, and upstream could not be asked for it: {}. Nothing was installed. "
                "Set xray_proxy_sha256 to the SHA-256 that the page of the release shows for {}, or use the role's own "
                "xray_proxy_version.".format(release.version, why.rstrip("."), os.path.basename(release.url("")))
            ) from exc

    def verify(self, release: ReleaseSpec) -> tuple[str, str]:
        """Compare the zip ``release.file`` with its SHA-256; returns what ``expected_sha256`` does. Raises XrayError."""
        sha256, digest_source = self.expected_sha256(release)
        verify_sha256(str(release.file), sha256, str(release.file))
        return sha256, digest_source

    def _fetch_release(self, release: ReleaseSpec, sha256: str, work: str) -> tuple[str, str]:
        """Unpack the zip with this SHA-256, from the cache where it has that; (directory, base or path in the cache).

        One host downloads, the others wait for it. A cache that cannot be used is left out, and what is damaged in it is replaced.
        """
        try:
            cached = find_cache_path(self.cache_dir, RemoteFile(release.url(release.bases[0]), "", sha256=sha256))
        except SdopsError:
            cached = None
        if cached is None or not ensure_writable(os.path.dirname(cached)):
            return self._download_release(release, sha256, work)[:2]
        with locked_if_possible(cached + ".lock"):
            archive = os.path.join(work, "cached.zip")
            with contextlib.suppress(SdopsError, OSError):
                if is_cached(cached):
                    # a copy: others may write there, and what is verified has to be what is unpacked
                    shutil.copyfile(cached, archive, follow_symlinks=False)
                    verify_sha256(archive, sha256, cached)
                    return self._unpack_release(archive, release, cached, os.path.join(work, "unpacked")), cached
            unpacked, base, archive = self._download_release(release, sha256, work)
            with contextlib.suppress(SdopsError, OSError), open(archive, "rb") as handle:
                write_atomic(cached, handle.read(), 0o644)
            return unpacked, base

    def _download_release(self, release: ReleaseSpec, sha256: str, work: str) -> tuple[str, str, str]:
        """Fetch and unpack the first zip that has this SHA-256; (directory, base, path of the zip).

        A mirror that answers with something else is as good as one that does not answer: the next one is asked.
        """
        http = HttpClient(**self.http_options)
        failures = []
        for number, base in enumerate(release.bases):
            url, archive = release.url(base), os.path.join(work, f"{number}.zip")
            try:
                self._download_file(http, url, archive)
                verify_sha256(archive, sha256, redact_url(url))
                return (
                    self._unpack_release(archive, release, redact_url(url), os.path.join(work, f"unpacked-{number}")),
                    base,
                    archive,
                )
            except (TransferError, XrayError) as exc:
                failures.append(str(exc).rstrip("."))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(archive)
        raise XrayError(
            "Xray-core {} could not be fetched: {}. Set xray_proxy_release_base to a mirror with the same paths, let the "
            "controller fetch it (xray_proxy_via_controller), or give the zip (xray_proxy_controller_zip, xray_proxy_file).".format(
                release.version, "; ".join(failures)
            )
        )

    def _unpack_release(self, archive: str, release: ReleaseSpec, name: str, directory: str) -> str:
        """``directory`` with what is in the zip, with the program of the right version."""
        unpack_zip(archive, directory, name)
        version = query_version(os.path.join(directory, "xray"))
        if version != release.version:
            raise XrayError(
                "The Xray-core in {} says it is {}, not {}.".format(name, version or "not runnable", release.version)
            )
        return directory

    def install(self, release: ReleaseSpec) -> tuple[str, str]:
        """Install the release as dest/VERSION/; (where it came from, what its hash is from: see ``expected_sha256``).

        Raises XrayError; what was there before stays in use then.
        """
        if query_version(self.program_path(release.version)) == release.version:
            return "installed", ""
        sha256, digest_source = self.expected_sha256(release)
        os.makedirs(self.dest, exist_ok=True)
        work = tempfile.mkdtemp(prefix=".incoming-", dir=self.dest)
        try:
            if release.file:
                via = release.file
                verify_sha256(via, sha256, via)
                unpacked = self._unpack_release(via, release, via, os.path.join(work, "unpacked"))
            else:
                unpacked, via = self._fetch_release(release, sha256, work)
            sync_tree(unpacked)
            final = os.path.join(self.dest, release.version)
            if os.path.isdir(final):
                os.rename(final, os.path.join(work, "before"))
            os.rename(unpacked, final)
            sync_tree(self.dest, deep=False)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return via, digest_source

    def activate(self, version: str) -> None:
        """Make dest/VERSION/ the current one."""
        work = tempfile.mkdtemp(prefix=".incoming-", dir=self.dest)
        try:
            link = os.path.join(work, "current")
            os.symlink(version, link)
            os.replace(link, os.path.join(self.dest, "current"))
        finally:
            shutil.rmtree(work, ignore_errors=True)


def verify_sha256(archive: str, sha256: str, name: str) -> None:
    """Raise XrayError when the zip has another SHA-256. Nothing in it is run before."""
    try:
        have = sha256_of(archive)
    except OSError as exc:
        raise XrayError(f"{archive} cannot be read: {exc.strerror}.") from exc
    if have != sha256:
        raise XrayError(
            f"The SHA-256 of {name} is {have}, but {sha256} is expected. It was not installed: it is damaged, or not what it claims to be."
        )


def sync_tree(path: str, deep: bool = True) -> None:
    """fsync a directory, and what is in it: a box that loses its power must not come up with empty programs."""
    for directory, _directories, names in os.walk(path):
        for name in [*(names if deep else []), "."]:
            handle = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        if not deep:
            break


def check_zip_members(archive: str, name: str) -> None:
    """Refuse a zip that holds no xray, or whose members would not all stay inside a directory: no links, bounded size."""
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = bundle.infolist()
    except Exception as exc:  # zipfile has many for what is no zip
        raise XrayError(f"{name} cannot be unpacked: {exc}.") from exc
    if sum(m.file_size for m in members) > MAX_UNPACKED:
        raise XrayError(f"{name} would unpack to more than {MAX_UNPACKED >> 20} MB; that is no Xray-core release.")
    for member in members:
        path = member.filename
        if path.startswith("/") or ".." in path.split("/") or "\\" in path or stat.S_ISLNK(member.external_attr >> 16):
            raise XrayError(f"{name} holds the unsafe path {path!r} and was not unpacked.")
    if "xray" not in [member.filename for member in members]:
        raise XrayError(f"{name} holds no xray program.")


def unpack_zip(archive: str, target: str, name: str) -> None:
    """Unpack a zip that check_members lets pass into ``target``; ``xray`` becomes executable. ``name`` is for messages."""
    check_zip_members(archive, name)
    try:
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(target)
        os.chmod(os.path.join(target, "xray"), 0o755)  # releases do not promise the mode bits
    except Exception as exc:  # zipfile, its codecs and the disk have many
        raise XrayError(f"{name} cannot be unpacked: {exc}.") from exc

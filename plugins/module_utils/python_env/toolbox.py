# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolbox: a virtual environment that is checked by what it can do, and rebuilt when it is damaged.

Standard library only: where the toolbox does not work, this runs on the host's own Python.
"""

from __future__ import annotations

import glob
import hashlib
import http.client
import inspect
import json
import os
import re
import shutil
import ssl
import sys
import threading
import urllib.error
import urllib.request
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import ProcessError, ToolboxError
from ..filesystem import parse_json, write_atomic
from ..process import Completed, run
from ..urls import redact_logins, without_login
from . import zip_code_cache
from .cache_lock import package_cache_lock
from .pip_config import effective_setting, read_pip_config

# seconds
INSPECT_LIMIT = 120
INDEX_LIMIT = 12
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# pip's help names it too, and takes half a second for that
DEFAULT_INDEX_SCRIPT = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
OTHER_INDEX = "Set sdops_pip_index_url to an index that this host reaches, or sdops_network to mirrors or auto, which choose one that answers."
# Runs in the toolbox's Python: prints [[pin, what is wrong, whether only a rebuild helps]]. A power cut leaves files empty or short,
# an update of the host's Python leaves the packages in the directory of the former one, a move leaves scripts that start nothing.
TOOLBOX_SCRIPT = r"""
import csv, importlib, json, os, re, sys
from importlib import metadata
def damage(dist):
    record = dist.read_text("RECORD")
    if not record:
        return "its RECORD is missing"
    modules = set()
    for path, _, size in (row[:3] for row in csv.reader(record.splitlines()) if len(row) > 2):
        place = str(dist.locate_file(path))
        if size.isdigit() and (not os.path.isfile(place) or os.path.getsize(place) != int(size)):
            return "%s is missing or damaged" % place
        if os.path.basename(os.path.dirname(place)) == "bin" and path.startswith(".."):
            with open(place, "rb") as handle:
                start = handle.read(1024)
            if start.startswith(b"#!") and os.fsencode(os.path.join(sys.prefix, "bin", "")) not in start:
                return "%s belongs to another directory" % place
        module = re.match(r"([A-Za-z][A-Za-z0-9_]*)(/__init__)?\.(py|.*so)$", path)
        if module:
            modules.add(module.group(1))
    for module in sorted(modules):
        try:
            importlib.import_module(module)
        except Exception as exc:
            return "%s cannot be imported (%s: %s)" % (module, type(exc).__name__, exc)
    return ""
try:
    from packaging.markers import Marker
except Exception:
    try:
        from pip._vendor.packaging.markers import Marker
    except Exception:
        Marker = None
oldest, *lines = json.load(sys.stdin)
found = []
if sys.version_info[:2] < tuple(oldest):
    found.append(["python", "ansible-core needs Python %d.%d or newer, this one is %d.%d" % (*oldest, *sys.version_info[:2]), True])
for line in lines:
    pin, _, marker = line.partition(";")
    if marker.strip() and Marker and not Marker(marker.strip()).evaluate():
        continue
    name, _, version = pin.strip().partition("==")
    try:
        dist = metadata.distribution(name)
        here = dist.version
        if version and here != version:
            found.append([line, "version %s is installed" % here, not here])
            continue
        why = damage(dist)
    except metadata.PackageNotFoundError:
        found.append([line, "it is not installed", not version])
        continue
    except Exception as exc:
        why = "%s: %s" % (type(exc).__name__, exc)
    if why:
        found.append([line, why, True])
print(json.dumps(found))
"""
# Runs in the Python of a new environment: unpacks the pip that ensurepip would install. That compiles all of it, which takes longer than
# everything else here. Fails, and leaves nothing, where the wheel is elsewhere or needs others beside it, as those of Ubuntu 20.04.
UNPACK_PIP_SCRIPT = r"""
import ensurepip, glob, os, shutil, subprocess, sys, sysconfig, zipfile
folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")]
[wheel] = [w for f in folders if f for w in glob.glob(os.path.join(f, "pip-%s-*.whl" % ensurepip.version()))]
packages = sysconfig.get_path("purelib")
with zipfile.ZipFile(wheel) as bundle:
    bundle.extractall(packages)
    parts = {name.partition("/")[0] for name in bundle.namelist()}
if subprocess.call([sys.executable, "-I", "-m", "pip", "--version"]) != 0:
    for part in parts:
        shutil.rmtree(os.path.join(packages, part))
    sys.exit(1)
"""


class ToolboxState(NamedTuple):
    """What is wrong with a toolbox, one line for each problem, and whether installing packages is not enough."""

    problems: list[str]
    rebuild: bool


class PackageIndex(NamedTuple):
    """An index that pip asks, and which setting names it (``global.index-url``, ``:env:.index-url``).

    Without a setting it is the one that pip has by default; ``url`` is "" where there is no pip yet that could tell it.
    """

    url: str
    setting: str


def parse_pins(lock: str) -> list[str]:
    """``name==version`` and the marker of every requirement of a lock, without its hashes."""
    return re.findall(r"(?m)^([A-Za-z0-9][^\\\n]*==[^\\\n]*?)[ \t]*\\?$", lock)


def host_python(toolbox: str, executable: str = sys.executable) -> str:
    """The interpreter that a toolbox is made with: ``executable``, or the one beneath it when that is the toolbox's own."""
    if not os.path.abspath(executable).startswith(os.path.abspath(toolbox) + os.sep):
        return executable
    homes = re.findall(r"(?m)^home *= *(\S.*?) *$", _read(os.path.join(toolbox, "pyvenv.cfg")))
    names = (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", "python")
    for path in [os.path.join(home, name) for home in homes for name in names] + ["/usr/bin/python3"]:
        if os.access(path, os.X_OK):
            return path
    return executable


class Toolbox:
    """The virtual environment at ``path``. ``python`` makes it; one of a Python older than ``minimum_version`` is rebuilt."""

    def __init__(self, path: str, python: str, minimum_version: tuple[int, int] = (3, 8)) -> None:
        self.path, self.python = path, python
        self.minimum_version = minimum_version
        self.interpreter = os.path.join(path, "bin", "python")
        self.lock = os.path.join(path, "requirements.txt")
        self.check_record = os.path.join(path, "checked")

    def inspect(self, lock: str | None = None, record: bool = False) -> ToolboxState:
        """Its condition for ``lock``; without one for the lock that it was made from. ``record``: remember what is found whole."""
        if not os.path.lexists(self.interpreter):
            return ToolboxState([f"{self.path} is not there"], True)
        lock = _read(self.lock) if lock is None else lock
        pins = parse_pins(lock)
        if not pins:
            return ToolboxState([f"{self.lock} is empty or not there"], False)
        recorded = _read(self.check_record)
        if recorded and recorded == self._checked_state(pins):
            return ToolboxState([], False)
        try:
            done = run(
                [self.interpreter, "-I", "-c", TOOLBOX_SCRIPT],
                timeout=INSPECT_LIMIT,
                text_in=json.dumps([self.minimum_version, "pip", *pins]),
            )
        except ProcessError as exc:
            return ToolboxState([str(exc).rstrip(".")], True)
        try:
            found = parse_json(done.out)
        except ValueError:
            return ToolboxState(
                ["{} does not work ({})".format(self.interpreter, last_line(done) or "no output")], True
            )
        if record and not found:
            self.record_check(lock)
        return ToolboxState([f"{pin}: {why}" for pin, why, _worse in found], any(worse for _pin, _why, worse in found))

    def record_check(self, lock: str) -> None:
        """Remember that it is whole for ``lock``, so that nothing is imported to see it as long as no file of it changes."""
        state = self._checked_state(parse_pins(lock))
        if state and _read(self.check_record) != state:
            write_atomic(self.check_record, state.encode(), 0o600, durable=False)

    def _checked_state(self, pins: list[str]) -> str:
        """What a check depends on, as a hash; "" where its Python does not start, or nothing tells one boot from another.

        A power cut leaves other content in files that seem to be as they were, so a check holds until the next boot.
        """
        boot = _read(BOOT_ID)
        try:
            if not boot or run([self.interpreter, "-I", "-c", ""], timeout=INSPECT_LIMIT).rc != 0:
                return ""
            files = [os.path.realpath(self.interpreter), os.path.join(self.path, "pyvenv.cfg")]
            for name in ("bin", *glob.glob(os.path.join(glob.escape(self.path), "lib", "python3*"))):
                for directory, subdirectories, names in os.walk(os.path.join(self.path, name)):
                    subdirectories[:] = [each for each in subdirectories if each != "__pycache__"]
                    files += [os.path.join(directory, each) for each in names]
            found = [(path, each.st_size, each.st_ctime_ns) for path in sorted(files) for each in [os.lstat(path)]]
        except (ProcessError, OSError):
            return ""
        made_of = [boot, tuple(self.minimum_version), TOOLBOX_SCRIPT, pins, found]
        return hashlib.sha256(repr(made_of).encode()).hexdigest()

    def install(self, lock: str, rebuild: bool) -> list[str]:
        """Make it hold what ``lock`` (a requirements file with hashes) names; with ``rebuild`` from nothing. Returns warnings.

        Raises ToolboxError. What was interrupted is rebuilt by the next run.
        """
        settings = read_pip_config(self.python)
        main = self._main_index(settings)
        environment, warnings = self._reachable_indexes(settings, main)
        if rebuild:
            self._clear()
        with open(self.lock, "w", encoding="utf-8") as handle:
            handle.write(lock.rstrip("\n") + "\n")
        if rebuild:
            self._create()
        # an index or a mirror that serves another file than the one that was locked is refused
        argv = [self.interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--retries", "10"]
        argv.append("--no-compile")  # pip does it file by file, and most of them are never imported
        with package_cache_lock("PIP_CACHE_DIR", environment):
            done = run([*argv, "--require-hashes", "-r", self.lock], env=environment)
        if done.rc != 0:
            index = without_login(main.url) or "that pip has by default"
            if "DO NOT MATCH THE HASHES" in done.err:
                cause = "it serves other files than the lock (base_toolbox_lock) names"
            else:
                cause = last_line(done) or "pip gives no reason"
            raise ToolboxError(
                "The toolbox {} could not be installed from the package index {}: {}. {}".format(
                    self.path, index, cause.rstrip("."), OTHER_INDEX
                ),
                details=done.tail(),
            )
        return warnings

    def _clear(self) -> None:
        """Empty the directory but for the lock, which marks it as managed: that comes first and goes last."""
        self.reject_unmanaged_directory()
        os.makedirs(self.path, exist_ok=True)
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if path == self.lock:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def reject_unmanaged_directory(self) -> None:
        """Raise ToolboxError where somebody else's files are; the lock of a managed toolbox may be empty after a power cut."""
        text = _read(self.lock)
        is_managed = "--hash=sha256:" in text or (os.path.isfile(self.lock) and not text.strip("\0"))
        if os.path.isdir(self.path) and os.listdir(self.path) and not is_managed:
            raise ToolboxError(
                f"The directory {self.path} is not empty and was not made by this collection, so no toolbox is made there. Move it away, or set "
                "sdops_home to another directory."
            )

    def _create(self) -> None:
        if (
            run([self.python, "-m", "venv", "--without-pip", self.path]).rc == 0
            and run([self.interpreter, "-I", "-c", UNPACK_PIP_SCRIPT]).rc == 0
        ):
            return self._keep_compiled_code()
        done = run([self.python, "-m", "venv", self.path])
        if done.rc == 0:
            return self._keep_compiled_code()
        output = done.out + done.err
        if "ensurepip" in output or "No module named venv" in output:
            version = run([self.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).out.strip()
            raise ToolboxError(
                f"The toolbox {self.path} cannot be made: {self.python} has no complete venv module. On Debian and Ubuntu install python3-venv (or "
                f"python{version}-venv), or point ansible_python_interpreter at another Python 3.8 or newer, such as conda's."
            )
        raise ToolboxError(
            "The toolbox {} cannot be made by {} -m venv: {}. Check the directory and the space on its disk, then run again.".format(
                self.path, self.python, (last_line(done) or "it gives no reason").rstrip(".")
            ),
            details=done.tail(),
        )

    def _keep_compiled_code(self) -> None:
        (packages,) = glob.glob(os.path.join(glob.escape(self.path), "lib", "python3*", "site-packages"))
        zip_code_cache.install(packages, self.path, inspect.getsource(zip_code_cache))

    def _main_index(self, settings: dict[str, str]) -> PackageIndex:
        """The index that pip asks first."""
        url = effective_setting(settings, "index-url")
        if not url:
            return PackageIndex(self._default_index(), "")
        return PackageIndex(url, next((k for k, v in settings.items() if k.endswith(".index-url") and v == url), ""))

    def _default_index(self) -> str:
        """The index that pip asks where nothing is set; "" where no Python has a pip that tells it."""
        for python in (self.interpreter, self.python):
            try:
                done = run([python, "-c", DEFAULT_INDEX_SCRIPT], timeout=INSPECT_LIMIT)
            except ProcessError:
                continue
            if done.rc == 0:
                return done.out.strip()
        return ""

    def _reachable_indexes(self, settings: dict[str, str], main: PackageIndex) -> tuple[dict[str, str], list[str]]:
        """(environment for pip, warnings) without additional indexes that do not answer. Raises ToolboxError for the main one."""
        if effective_setting(settings, "no-index").lower() in ("1", "true", "yes", "on"):
            return {}, []
        more = effective_setting(settings, "extra-index-url").split()
        urls = [url for url in [main.url, *more] if url]
        reasons = dict(zip(urls, find_unreachable(urls, effective_setting(settings, "proxy"))))
        if reasons.get(main.url):
            where = "sdops_pip_index_url, or the route to it" if main.setting.startswith(":env:") else "pip.conf"
            if not main.setting:
                where = "pip's default"
            raise ToolboxError(
                f"The package index {without_login(main.url)} ({where}) does not answer: {reasons[main.url]}. The "
                f"toolbox {self.path} is made from it. {OTHER_INDEX}"
            )
        dead = [url for url in more if reasons[url]]
        if not dead:
            return {}, []
        # pip reads its files again, so what they say is handed over without the dead ones
        names = {name.rpartition(".")[2] for name in settings if name.startswith(("global.", "install.", ":env:."))}
        environment = {
            "PIP_" + n.upper().replace("-", "_"): effective_setting(settings, n) for n in names if n != "config-file"
        }
        alive = [url for url in more if not reasons[url]]
        environment.update(PIP_CONFIG_FILE=os.devnull, PIP_EXTRA_INDEX_URL=" ".join(alive))
        return environment, [
            f"The additional package index {without_login(url)} does not answer: {reasons[url]}. The toolbox is made "
            "without it. Take it out of pip's settings (pip "
            "config list) or sdops_pip_extra_index_urls, or repair it."
            for url in dead
        ]


def find_unreachable(urls: list[str], proxy: str = "", seconds: float = INDEX_LIMIT) -> list[str]:
    """For each index why it does not serve packages, or "". All at once, within ``seconds``: a name server may hang too."""
    reasons = [f"it did not answer within {int(seconds)} seconds" for _url in urls]

    def query(place: int, url: str) -> None:
        first = _index_error(url, proxy, seconds / 2)
        reasons[place] = first and _index_error(url, proxy, seconds / 2)

    threads = [threading.Thread(target=query, args=item, daemon=True) for item in enumerate(urls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return list(reasons)


def _index_error(url: str, proxy: str, seconds: float, page: str = "/requests/") -> str:
    """Why the index gives no page, or "" when it does or that is not known from here (its login and certificates are pip's)."""
    if urlsplit(url).scheme not in ("http", "https"):
        return ""
    address = without_login(url).rstrip("/") + page
    handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
    try:
        urllib.request.build_opener(*handlers).open(address, timeout=seconds).close()
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code in (404, 410) and page != "/":  # an index of other packages has a page of its own
            return _index_error(url, proxy, seconds, "/")
        return f"it answers {exc.code} {exc.reason}" if exc.code in (404, 410) or exc.code >= 500 else ""
    except urllib.error.URLError as exc:
        if isinstance(exc.reason, ssl.SSLError) or "unknown url type" in str(exc.reason):
            return ""
        return str(getattr(exc.reason, "strerror", None) or exc.reason)
    except (OSError, http.client.HTTPException) as exc:
        return str(exc) or type(exc).__name__
    except ValueError:
        return ""
    return ""


def last_line(done: Completed) -> str:
    """The reason in a program's output: pip's last error, else the last line."""
    lines = [line.strip() for line in (done.out + "\n" + done.err).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return redact_logins((errors or lines or [""])[-1])


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""

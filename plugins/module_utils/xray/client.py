# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config and the core that an Xray client runs with: changed together, tried before, and put back when they do no good."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import tempfile
from typing import Any, Iterator, NamedTuple

from ..errors import ClientError
from ..filesystem import load_json, parse_json, read_regular, write_atomic
from ..process import run
from .release import Installer, installed_version

# keys whose values say of what kind something is; every other text in a config may be somebody's secret
KINDS = (
    "protocol", "network", "method", "security", "type", "flow", "fingerprint", "tag", "outboundTag", "inboundTag", "listen", "port",
    "loglevel", "domainStrategy", "domain", "ip",
)  # fmt: skip
SHORTEST = 3  # characters; what is shorter is no secret, and is in every sentence


class Setup(NamedTuple):
    """What Xray starts with: a version below the directory of releases, and the text of the config."""

    version: str | None
    config: str | None


def texts(value: Any) -> Iterator[str]:
    """Every text in a config that may be secret."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in KINDS:
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value)


def redact(said: str, config: str) -> str:
    """``said`` without anything that is secret in ``config``."""
    found = {text for text in texts(parse_json(config)) if len(text) >= SHORTEST}
    for text in sorted(found, key=len, reverse=True):
        for form in (text, json.dumps(text)[1:-1]):
            said = said.replace(form, "***")
    return said


class Client:
    """The client below ``dest``: VERSION/xray, the link current, config.json, and previous.json with what was in use before."""

    def __init__(self, dest: str) -> None:
        self.dest = dest
        self.installer = Installer(dest)
        self.file = os.path.join(dest, "config.json")
        self.memory = os.path.join(dest, "previous.json")

    def now(self) -> Setup:
        try:
            config: str | None = read_regular(self.file, follow=True).decode("utf-8")
        except OSError:
            config = None
        return Setup(self.installer.current(), config)

    def inputs(self, setup: Setup) -> str:
        """A hash of all that Xray reads when it starts: another one means that it has to be started anew."""
        digest = hashlib.sha256(("{}\n{}\n".format(*setup)).encode())
        for path in sorted(glob.glob(os.path.join(self.dest, setup.version or "", "*.dat"))):
            with open(path, "rb") as handle:
                digest.update(os.path.basename(path).encode() + hashlib.sha256(handle.read()).digest())
        return digest.hexdigest()

    def try_out(self, setup: Setup) -> None:
        """Raises ClientError when the core of ``setup`` is missing or does not take the config."""
        program = self.installer.program(setup.version or "")
        if installed_version(program) is None:
            raise ClientError(f"Xray-core {setup.version} is not installed in {self.dest}. Install it first.")
        handle, path = tempfile.mkstemp(prefix=".try-", suffix=".json", dir=self.dest)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(setup.config or "")
            done = run([program, "run", "-test", "-c", path], timeout=120)
        finally:
            os.unlink(path)
        if done.rc != 0:
            said = redact(done.tail(1).replace(path, "the config"), setup.config or "{}")
            raise ClientError(
                "Xray-core {} refuses the config, so it was not taken and what was in use stays in use. It says: {}. Check the "
                "xray_proxy_* variables that it names.".format(setup.version, said.strip().rstrip(".") or "nothing")
            )

    def use(self, setup: Setup) -> None:
        """Make ``setup`` what Xray starts with; remembers what it was before."""
        before = self.now()
        write_atomic(self.memory, json.dumps(before._asdict()).encode(), 0o600)
        self._take(setup)

    def previous(self) -> Setup | None:
        """What was in use before the last change; None when nothing was, or nothing is known of it."""
        try:
            found: dict[str, Any] = load_json(self.memory)
            setup = Setup(found["version"], found["config"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        usable = setup.config and setup.version and installed_version(self.installer.program(setup.version))
        return setup if usable else None

    def put_back(self, setup: Setup) -> None:
        self._take(setup)
        os.unlink(self.memory)

    def _take(self, setup: Setup) -> None:
        write_atomic(self.file, (setup.config or "").encode(), 0o600)
        self.installer.use(setup.version or "")

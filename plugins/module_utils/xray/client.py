# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config and the core that an Xray client runs with: changed together, tested before, and restored when they do not work."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import tempfile
from typing import Any, Iterator, NamedTuple

from ..errors import XrayClientError
from ..filesystem import load_json, parse_json, read_regular, write_atomic
from ..process import run
from .release import XrayInstaller, query_version

# keys whose values say of what kind something is; every other text in a config may be somebody's secret
NON_SECRET_KEYS = (
    "protocol", "network", "method", "security", "type", "flow", "fingerprint", "tag", "outboundTag", "inboundTag", "listen", "port",
    "loglevel", "domainStrategy", "domain", "ip",
)  # fmt: skip
MIN_SECRET_LENGTH = 3  # characters; what is shorter is no secret, and is in every sentence


class ActiveSetup(NamedTuple):
    """What Xray starts with: a version below the directory of releases, and the text of the config."""

    version: str | None
    config: str | None


def iter_secret_texts(value: Any) -> Iterator[str]:
    """Every text in a config that may be secret."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in NON_SECRET_KEYS:
                yield from iter_secret_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from iter_secret_texts(inner)
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value)


def mask_config_secrets(message: str, config: str) -> str:
    """``message`` without anything that is secret in ``config``."""
    secrets = {text for text in iter_secret_texts(parse_json(config)) if len(text) >= MIN_SECRET_LENGTH}
    for text in sorted(secrets, key=len, reverse=True):
        for form in (text, json.dumps(text)[1:-1]):
            message = message.replace(form, "***")
    return message


class XrayClient:
    """The client below ``dest``: VERSION/xray, the link current, config.json, and previous.json with what was in use before."""

    def __init__(self, dest: str) -> None:
        self.dest = dest
        self.installer = XrayInstaller(dest)
        self.config_file = os.path.join(dest, "config.json")
        self.previous_file = os.path.join(dest, "previous.json")

    def read_active(self) -> ActiveSetup:
        try:
            config: str | None = read_regular(self.config_file, follow=True).decode("utf-8")
        except OSError:
            config = None
        return ActiveSetup(self.installer.current_version(), config)

    def hash_inputs(self, setup: ActiveSetup) -> str:
        """A hash of all that Xray reads when it starts: another one means that it has to be restarted."""
        digest = hashlib.sha256(("{}\n{}\n".format(*setup)).encode())
        for path in sorted(glob.glob(os.path.join(self.dest, setup.version or "", "*.dat"))):
            with open(path, "rb") as handle:
                digest.update(os.path.basename(path).encode() + hashlib.sha256(handle.read()).digest())
        return digest.hexdigest()

    def test_config(self, setup: ActiveSetup) -> None:
        """Raises XrayClientError when the core of ``setup`` is missing or does not accept the config."""
        program = self.installer.program_path(setup.version or "")
        if query_version(program) is None:
            raise XrayClientError(f"Xray-core {setup.version} is not installed in {self.dest}. Install it first.")
        handle, path = tempfile.mkstemp(prefix=".try-", suffix=".json", dir=self.dest)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(setup.config or "")
            done = run([program, "run", "-test", "-c", path], timeout=120)
        finally:
            os.unlink(path)
        if done.rc != 0:
            message = mask_config_secrets(done.tail(1).replace(path, "the config"), setup.config or "{}")
            raise XrayClientError(
                "Xray-core {} rejects the config, so it was not applied and the previous one stays in use. It says: {}. Check the "
                "xray_proxy_* variables that it names.".format(setup.version, message.strip().rstrip(".") or "nothing")
            )

    def activate(self, setup: ActiveSetup) -> None:
        """Make ``setup`` what Xray starts with; stores what it was before in previous.json."""
        before = self.read_active()
        write_atomic(self.previous_file, json.dumps(before._asdict()).encode(), 0o600)
        self._write(setup)

    def read_previous(self) -> ActiveSetup | None:
        """What was in use before the last change; None when nothing was, or nothing is known of it."""
        try:
            stored: dict[str, Any] = load_json(self.previous_file)
            setup = ActiveSetup(stored["version"], stored["config"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        usable = setup.config and setup.version and query_version(self.installer.program_path(setup.version))
        return setup if usable else None

    def restore(self, setup: ActiveSetup) -> None:
        self._write(setup)
        os.unlink(self.previous_file)

    def _write(self, setup: ActiveSetup) -> None:
        write_atomic(self.config_file, (setup.config or "").encode(), 0o600)
        self.installer.activate(setup.version or "")

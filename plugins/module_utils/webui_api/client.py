# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API of the WebUI (AUTOMATIC1111 1.10), spoken from the box itself."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import stat
import time
import urllib.parse
from typing import Any, Callable, Iterator

from ..errors import WebuiError, WebuiStatusError
from ..filesystem import open_regular, parse_json, read_tail

# what the log says -> what it means and what to do
CAUSES = (
    ("CUDA out of memory", "The GPU has too little memory: add --medvram or --lowvram, or take smaller images."),
    ("Torch is not able to use GPU", "torch sees no GPU: look at nvidia-smi, or set sdops_device to cpu."),
    (
        "no kernel image is available",
        "This torch has no kernels for this GPU: set another sd_webui_version, or another torch.",
    ),
    ("Cannot find empty port", "The port is taken by another process: stop it, or set webui_service_port."),
    ("unrecognized arguments", "An argument is not known to this WebUI: correct webui_service_extra_args."),
    ("ModuleNotFoundError", "A package is missing: run the playbook again with the tags sd_webui and extensions."),
    ("SafetensorError", "A model file is damaged: run model_fetch with model_fetch_verify set to always."),
    ("INVALID_PROTOBUF", "An .onnx file is damaged: remove it, and run the playbook again with the tag extensions."),
    (
        "Can't load tokenizer",
        "CLIP's tokenizer is not there yet and the Hub cannot be reached: look at the routes (sdops_network).",
    ),
    ("No space left on device", "The disk is full: df -h, and remove models or outputs that are not needed."),
    ("Address already in use", "The port is taken by another process: stop it, or set webui_service_port."),
)


MAX_RESPONSE_BYTES = 256 << 20  # bytes of an answer; a large image in JSON has some ten MiB
MAX_ERROR_BYTES = 64 << 10  # bytes of an error answer; more is cut off
MAX_RENDER_FAILURES = 3  # what fails so often has no model that renders


def read_credentials(path: str) -> str:
    """``user:password`` from the first line of a file that only its owner may read."""
    try:
        with os.fdopen(open_regular(path, follow=True), encoding="utf-8") as handle:
            mode = os.fstat(handle.fileno()).st_mode
            line = handle.readline().strip()
    except OSError as exc:
        raise WebuiError(f"The credentials file {path} cannot be read: {exc.strerror}.") from exc
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WebuiError(f"The credentials file {path} can be read by others; chmod 600 it, and change the password.")
    if ":" not in line:
        raise WebuiError(f"The first line of {path} is not user:password.")
    return line


class Webui:
    """``url`` such as http://127.0.0.1:6006; ``credentials`` "user:password" for HTTP Basic, or None.

    ``check`` is called with each connection before the credentials go over it, and raises WebuiError for one that must not
    have them; credentials need one. The WebUI is on this box: no proxy comes between, and no redirect is followed.
    """

    def __init__(
        self,
        url: str,
        credentials: str | None = None,
        timeout: float = 30,
        check: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._authorization: dict[str, str] = {}
        self._check = check
        self._shares = False
        self._kept: http.client.HTTPConnection | None = None
        self._checked: http.client.HTTPConnection | None = None
        if credentials:
            if check is None:
                raise ValueError("credentials without a check of who gets them")
            self._authorization["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        connection.connect()
        # it must not connect again by itself, to whoever has the port by then
        connection.auto_open = 0
        return connection

    @contextlib.contextmanager
    def one_connection(self) -> Iterator[None]:
        """Requests inside share a connection while the WebUI keeps it open: ``check`` is called once and not for each of them."""
        self._shares = True
        try:
            yield
        finally:
            self._shares = False
            kept, self._kept = self._kept, None
            if kept:
                kept.close()

    def request(self, path: str, body: Any = None, timeout: float | None = None, login: bool = True) -> Any:
        """GET (or POST ``body`` as JSON) and return the decoded answer; ``login`` sends the credentials with it.

        Raises WebuiError with a sentence.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        try:
            connection = self._kept or self._open(timeout or self.timeout)
            self._kept = None
            try:
                connection.sock.settimeout(timeout or self.timeout)
                if login and self._authorization and self._check:
                    if self._checked is not connection:
                        self._check(connection.sock)
                    self._checked = connection
                    headers.update(self._authorization)
                place = urllib.parse.urlsplit(self.url).path + path
                connection.request("GET" if data is None else "POST", place, data, headers)
                answer = connection.getresponse()
                text = answer.read(MAX_RESPONSE_BYTES + 1 if answer.status < 300 else MAX_ERROR_BYTES)
                if self._shares and answer.isclosed() and not answer.will_close:
                    self._kept = connection
            finally:
                if self._kept is not connection:
                    connection.close()
            if answer.status >= 300:
                raise WebuiStatusError(
                    self._explain(path, answer.status, text.decode("utf-8", "replace")), answer.status
                )
            if len(text) > MAX_RESPONSE_BYTES:
                raise WebuiError(f"{self.url}{path} answered with more than {MAX_RESPONSE_BYTES >> 20} MiB.")
            return parse_json(text or b"null")
        except (OSError, ValueError, http.client.HTTPException) as exc:
            reason = exc if str(exc) else type(exc).__name__
            raise WebuiError(f"{self.url}{path} does not answer: {reason}.") from exc

    def _explain(self, path: str, status: int, text: str) -> str:
        try:
            content = parse_json(text)
            text = content.get("errors") or content.get("detail") or content.get("error") or text
        except (ValueError, AttributeError):
            pass
        if status == 401:
            return f"{self.url} refuses the credentials for {path}. The WebUI was started with others; restart it."
        if status == 404 and path.startswith("/sdapi"):
            return f"{self.url} has no {path}. Was the WebUI started without --api, or with another version?"
        return f"{self.url}{path} answered {status}: {str(text).strip()[:500]}"

    def options(self) -> dict[str, Any]:
        result: dict[str, Any] = self.request("/sdapi/v1/options")
        return result

    def has_started(self) -> bool:
        """Whether the WebUI has finished its start; True too where it cannot tell.

        The routes of its API answer earlier than what they need exists: a request to txt2img then fails with a traceback in the
        log. /internal/profile-startup (since 1.4) is null until the start is over.
        """
        try:
            return self.request("/internal/profile-startup", timeout=10) is not None
        except WebuiStatusError as exc:
            if exc.status != 404:
                raise
            return True

    def check_model_renders(self, timeout: float) -> None:
        """Render one step of a tiny image and keep nothing of it. Raises WebuiError when no model can.

        The settings name a checkpoint and its hash long before, and also when it cannot be loaded: the WebUI keeps them
        from the last time. A generation that is under way is as good a proof, and need not be waited for.
        """
        progress = self.request("/sdapi/v1/progress?skip_current_image=true")
        state = progress.get("state") or {}
        if state.get("job_count") and state.get("sampling_step"):
            return
        tiny = {"prompt": "", "steps": 1, "width": 64, "height": 64, "send_images": False, "save_images": False}
        self.request("/sdapi/v1/txt2img", tiny, timeout=timeout)

    def wait_ready(
        self,
        timeout: float,
        need_model: bool,
        log_file: str | None = None,
        alive: Callable[[], str | None] = lambda: None,
    ) -> dict[str, Any]:
        """Wait for the liveness probe and then for a model that renders: the port answers long before one is loaded.

        ``alive`` returns a reason to give up at once (the process is gone), or None. A model that the WebUI fails to load
        is tried ``MAX_RENDER_FAILURES`` times. Returns ``{seconds, checkpoint}``.
        """
        started = time.monotonic()
        waiting_for, seen, failures = "/internal/ping", "nothing yet", 0
        while True:
            exit_reason = alive()
            left = timeout - (time.monotonic() - started)
            if exit_reason or left < 0 or failures >= MAX_RENDER_FAILURES:
                raise WebuiError(
                    "The WebUI at {} is not ready: {} while waiting for {}; last seen: {}{}{}".format(
                        self.url,
                        exit_reason
                        or (
                            f"it failed {failures} times"
                            if failures >= MAX_RENDER_FAILURES
                            else f"{int(timeout)} seconds passed"
                        ),
                        waiting_for,
                        seen,
                        find_likely_cause(log_file),
                        f" The end of {log_file}:" if log_file else "",
                    ),
                    details=log_tail(log_file) if log_file else "",
                )
            try:
                waiting_for = "/internal/ping"
                self.request("/internal/ping", timeout=10, login=False)
                waiting_for = "the end of its start"
                if not self.has_started():
                    raise WebuiError(f"{self.url} answers, and is still starting.")
                waiting_for = "the API"
                self.options()
                if need_model:
                    waiting_for = "a loaded model"
                    self.check_model_renders(max(left, 1))
                return {
                    "seconds": round(time.monotonic() - started, 1),
                    "checkpoint": self.options().get("sd_model_checkpoint"),
                }
            except WebuiStatusError as exc:
                seen = str(exc)
                if exc.status == 401:
                    raise
                failures += waiting_for == "a loaded model"
            except WebuiError as exc:
                seen = str(exc)
            time.sleep(0.5)

    def set_options(self, requested: dict[str, Any]) -> None:
        """Set and read back: the WebUI answers 200 even when it puts the old value back. Checkpoint first, then the VAE."""
        first = [k for k in ("sd_model_checkpoint", "sd_vae") if k in requested]
        rest = [k for k in requested if k not in first]
        for group in [[k] for k in first] + ([rest] if rest else []):
            self.request("/sdapi/v1/options", {k: requested[k] for k in group}, timeout=600)
        current = self.options()
        lost = sorted(k for k in requested if not self.same_option(k, requested[k], current.get(k)))
        if lost:
            raise WebuiError(
                "The WebUI did not keep {}. It puts an old value back when applying a new one fails; its log says why.".format(
                    ", ".join(f"{k} (wanted {requested[k]!r}, is {current.get(k)!r})" for k in lost)
                )
            )

    def same_option(self, name: str, requested: Any, have: Any) -> bool:
        """As the function of this name; of a checkpoint, the WebUI's own list tells which file a name means."""
        if (
            name != "sd_model_checkpoint"
            or not isinstance(requested, str)
            or not isinstance(have, str)
            or requested == have
        ):
            return same_option(name, requested, have)
        titles = [self._title_of(text) for text in (requested, have)]
        return titles[0] == titles[1] if all(titles) else same_option(name, requested, have)

    def _title_of(self, text: str) -> str | None:
        models = self.request("/sdapi/v1/sd-models")
        for names in zip(*([*checkpoint_names(m["title"]), m.get("sha256")] for m in models)):
            if text and text in names:
                title: str = models[names.index(text)]["title"]
                return title
        return None


def checkpoint_names(title: str) -> list[str]:
    """What a setting may call the checkpoint with this title, "folder/x.safetensors [0123456789]", the most certain first."""
    match = re.match(r"^(.*?)(?: \[([0-9a-f]{10})\])?$", title, re.DOTALL)
    name, short = (match.group(1), match.group(2) or "") if match else (title, "")
    stem = os.path.splitext(os.path.basename(name))[0]
    return [title, name, os.path.splitext(name.replace("/", "_"))[0], short, f"{stem} [{short}]", stem]


def same_option(name: str, requested: Any, have: Any) -> bool:
    """Equal in value and type; a checkpoint may be named in every form that the WebUI knows."""
    if name == "sd_model_checkpoint" and isinstance(requested, str) and isinstance(have, str):
        return bool(requested) and requested in checkpoint_names(have)
    return (
        type(requested) is type(have)
        and requested == have
        or (
            isinstance(requested, (int, float))
            and isinstance(have, (int, float))
            and not isinstance(requested, bool)
            and requested == have
        )
    )


# what these are like, where no WebUI runs that could be asked
OPTION_EXAMPLES: dict[str, Any] = {
    "CLIP_stop_at_last_layers": 1,
    "eta_noise_seed_delta": 0,
    "img2img_fix_steps": False,
    "jpeg_quality": 80,
    "samples_save": True,
    "sd_checkpoints_limit": 1,
    "sd_model_checkpoint": "",
    "sd_vae": "Automatic",
}


def convert_option(name: str, requested: Any, example: Any) -> Any:
    """``wanted`` in the type of ``like``, which the WebUI does not look after itself. Raises WebuiError where it does not fit.

    Templates of Ansible often make texts of numbers and booleans: those are taken for what they say.
    """
    number, kind = (int, float), "a number"
    if isinstance(example, bool):
        kind = "true or false"
        if isinstance(requested, str) and requested.lower() in ("true", "false"):
            return requested.lower() == "true"
        is_valid = isinstance(requested, bool)
    elif isinstance(example, number):
        if isinstance(requested, str) and re.match(r"^-?\d+(\.\d+)?\Z", requested):
            requested = float(requested)
        is_valid = isinstance(requested, number) and not isinstance(requested, bool)
        if is_valid and requested == int(requested):
            return int(requested)  # some settings are counted with, and a WebUI that is asked tells all as fractions
    elif example is None or requested is None:
        is_valid = True
    else:
        kinds: dict[type, str] = {str: "a text", list: "a list", dict: "a mapping"}
        kind = kinds.get(type(example), type(example).__name__)
        is_valid = isinstance(requested, type(example))
    if not is_valid:
        raise WebuiError(
            f"The option {name} is {kind} in the WebUI; {requested!r} is none. Correct webui_service_options."
        )
    return requested


def find_likely_cause(log_file: str | None) -> str:
    """What the end of the log is known to mean, as a sentence with a space before it; "" when nothing known is there."""
    content = read_tail(log_file, 200) if log_file else ""
    last = {content.rfind(word): meaning for word, meaning in CAUSES if word in content}
    return " " + last[max(last)] if last else ""


def log_tail(log_file: str, lines: int = 15) -> str:
    """The end of the log without its start lines, which hold all arguments."""
    content: list[str] = [
        line for line in read_tail(log_file, 200).splitlines() if line.strip() and not line.startswith("Launching ")
    ]
    return "\n".join(content[-lines:]) or "(empty)"

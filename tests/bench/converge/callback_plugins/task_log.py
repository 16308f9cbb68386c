"""Writes one JSON line for each task and host into $SDOPS_BENCH_LOG: {"host", "task", "status", "changed", "seconds"}."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_log
type: aggregate
short_description: One JSON line for each task and host
description: What tests/bench/converge counts.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_log"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[tuple[str, str], float] = {}
        self.log = open(os.environ["SDOPS_BENCH_LOG"], "a", encoding="utf-8", buffering=1)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self.started[host.get_name(), task._uuid] = time.monotonic()

    def _write(self, result: Any, status: str) -> None:
        host, task = result.host.get_name(), result.task
        now = time.monotonic()
        entry = {
            "host": host,
            "task": task.get_name(),
            "status": status,
            "changed": bool(result.result.get("changed")),
            "seconds": round(now - self.started.get((host, task._uuid), now), 3),
        }
        self.log.write(json.dumps(entry) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result, "executed")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, "executed" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write(result, "skipped")

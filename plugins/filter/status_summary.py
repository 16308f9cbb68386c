# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_summary
short_description: The status of a host on one screen
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Makes at most 20 lines of what M(sdops.webui.webui_status_info) has read. Sizes are in units of 1024, such as GiB.
positional: _input, gpu, no_programs, language
options:
  _input:
    description: RV(sdops.webui.webui_status_info#module:status).
    type: dict
    required: true
  gpu:
    description: The fact C(sdops_gpu) of M(sdops.webui.gpu_facts).
    type: dict
    required: true
  no_programs:
    description: What is said of the programs where supervisord does not answer.
    type: str
    required: true
  language:
    description: Language of the lines, as in P(sdops.webui.message#filter).
    type: str
    choices: [auto, en, zh]
    default: auto
"""

EXAMPLES = r"""
- name: Report the status
  ansible.builtin.debug:
    msg: "{{ webui.status | sdops.webui.status_summary(ansible_facts['sdops_gpu'], 'none', sdops_language) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
  sample:
    - "version:     1.10.1 (82a973c043), torch 2.1.2+cu121"
    - "GPU:         NVIDIA GeForce RTX 4090, 2.9 of 24.0 GiB in use, 12 % busy, driver 550.54.14, compute capability 8.9"
    - "disks:       /root/autodl-tmp 30.0 of 50.0 GiB free, / 20.0 of 30.0 GiB free"
    - "models:      2 checkpoint 7.9 GiB, in all 7.9 GiB"
    - "extensions:  adetailer, lobe-theme"
    - "programs:    webui RUNNING (pid 1200, 1:00:00)"
"""

from typing import Any, Callable, Iterable, Mapping, Sequence

from ..module_utils.terminal import printable
from ..plugin_utils.messages import message
from ..plugin_utils.progress_view import amount, clock, size
from ..plugin_utils.text_tables import label_line

MAX_GPUS = 6
MAX_NAMES = 12  # of extensions in a list
COMMIT_DIGITS = 10


def status_summary(
    status: Mapping[str, Any], gpu: Mapping[str, Any], no_programs: str, language: str = "auto"
) -> list[str]:
    """The lines; what the host has named is printed without anything that a terminal would act upon."""
    rows = [
        ("version", [_version(status["version"], status["packages"], language)]),
        ("gpu", _gpus(status["gpus"], gpu, language)),
        ("disks", [_list((_disk(path, usage, language) for path, usage in status["disks"].items()), language)]),
        ("models", [_models(status["models"], language)]),
        ("extensions", _extensions(status["extensions"], language)),
        ("programs", [_programs(status["programs"], no_programs, language)]),
    ]
    return [printable(label_line(message(f"status_{name}", language), line)) for name, lines in rows for line in lines]


def _version(version: Mapping[str, str], packages: Mapping[str, str], language: str) -> str:
    if not version["version"]:
        return message("status_not_installed", language)
    parts = [f"{version['version']} ({version['commit'][:COMMIT_DIGITS]})"]
    if version["checkout"] and version["checkout"] != version["commit"]:
        checkout = message("status_checkout", language, commit=version["checkout"][:COMMIT_DIGITS])
        parts = [f"{_clauses([parts[0][:-1], checkout], language)})"]
    return _clauses([*parts, *(f"{name} {number}" for name, number in packages.items())], language)


def _clauses(parts: Iterable[str], language: str) -> str:
    return message("clause_separator", language).join(parts)


def _list(names: Iterable[str], language: str) -> str:
    return message("list_separator", language).join(names)


def _gpus(usage: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], language: str) -> list[str]:
    if not facts["gpus"]:
        return [message("status_no_gpu", language, reason=facts["reason"])]
    used = {gpu["index"]: gpu for gpu in usage}
    unknown = message("status_unknown", language)
    lines = []
    for gpu in facts["gpus"]:
        now = used.get(gpu["index"], {})
        parts = [gpu["name"]]
        if now.get("memory_total"):
            parts.append(
                message(
                    "status_memory", language, amount=amount(now["memory_used"] or 0, now["memory_total"], language)
                )
            )
        elif gpu["memory_mb"]:
            parts.append(size(gpu["memory_mb"] << 20))
        if now.get("utilization") is not None:
            parts.append(message("status_busy", language, percent=now["utilization"]))
        parts += [
            message("status_driver", language, version=facts["driver"] or unknown),
            message("status_capability", language, number=gpu["capability"] or unknown),
        ]
        lines.append(_clauses(parts, language))
    more = [message("plan_more", language, count=len(lines) - MAX_GPUS)] if len(lines) > MAX_GPUS else []
    return lines[:MAX_GPUS] + more + ([facts["reason"]] if facts["reason"] else [])


def _disk(path: str, usage: Mapping[str, int | None], language: str) -> str:
    free, total = usage["free"], usage["total"]
    if free is None or total is None:
        return message("status_disk_unknown", language, path=path)
    return message("status_disk", language, path=path, amount=amount(free, total, language))


def _models(models: Mapping[str, Mapping[str, int]], language: str) -> str:
    if not models:
        return message("status_none", language)
    parts = [f"{found['count']} {kind} {size(found['bytes'])}" for kind, found in models.items()]
    total = sum(found["bytes"] for found in models.values())
    return _clauses([*parts, message("status_sum", language, size=size(total))], language)


def _extensions(extensions: Mapping[str, Sequence[str]], language: str) -> list[str]:
    lines = [_names(extensions["enabled"], language) or message("status_none", language)]
    disabled = _names(extensions["disabled"], language)
    return lines + ([message("status_disabled", language, names=disabled)] if disabled else [])


def _names(names: Sequence[str], language: str) -> str:
    more = len(names) - MAX_NAMES
    return _list(names[:MAX_NAMES], language) + (" " + message("plan_more", language, count=more) if more > 0 else "")


def _programs(programs: Sequence[Mapping[str, Any]] | None, no_programs: str, language: str) -> str:
    if programs is None:
        return no_programs
    shown = [
        f"{each['name']} {each['state']}" + (f" (pid {each['pid']}, {clock(each['seconds'])})" if each["pid"] else "")
        for each in programs
    ]
    return _list(shown, language) or message("status_none", language)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"status_summary": status_summary}

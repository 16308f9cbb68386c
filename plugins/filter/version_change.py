# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: version_change
short_description: Whether a run replaces the installed version of the WebUI, and whether anybody asks for that
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Compares the installed version with that of the run. A change needs a variable that asks for it.
  - What was installed as the default of the collection follows that default to a newer release, or to another commit of the same one.
positional: _input, sources, desired, given
options:
  _input:
    description: Content of C(installed.json) on the host; empty or null where nothing is installed.
    type: str
    required: true
  sources:
    description: Content of C(sources.json) on the host, whose C(requested) has the variables that asked for what is installed.
    type: str
    required: true
  desired:
    description: C(version) and C(commit) of this run.
    type: dict
    required: true
  given:
    description: Those of C(sd_webui_version), C(sd_webui_commit) and C(sd_webui_repo) that are set in this run, with their values.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the change of version
  ansible.builtin.debug:
    msg: "{{ (installed | sdops.webui.version_change(sources, desired, {'sd_webui_version': 'dev'})).installed }}"
  vars:
    installed: '{"version": "1.10.1", "commit": "82a973c04367123ae98bd9abdf80d9eda9b910e2"}'
    sources: '{"requested": {}}'
    desired: {version: dev, commit: fd68e0c3846b07c637c3d57b0c38f06c8485a753}
"""

RETURN = r"""
_value:
  description: >-
    C(installed) and C(desired), as a person reads them, the former empty where nothing is installed; C(changed), whether they differ;
    C(objection), a sentence about why that must not be, empty where it may; C(notice), a sentence about a change that may be, but that
    nobody has asked for or that is less than one might think; and C(requested), the variables to record.
  type: dict
  sample: {installed: 1.10.1, desired: dev, changed: true, objection: "", notice: "", requested: {sd_webui_version: dev}}
"""

from typing import Any, Callable, Mapping

from ..module_utils.version_change import compare_version


def version_change(
    installed: str | None, sources: str | None, desired: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, Any]:
    return compare_version(installed, sources, desired, given)._asdict()


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"version_change": version_change}

#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: webui_options
short_description: Settings of the WebUI
version_added: 0.1.0
description:
  - Sets options of the WebUI, either in its C(config.json) while it is not running, or through its API while it is.
  - Live, the options are read back, because the WebUI answers with success even when it puts an old value back.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.webui_access
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  options:
    description:
      - The options by their names in C(config.json).
      - The WebUI does not check their types. A text that says a number or a boolean is taken for one where the option is one;
        other values of the wrong type are refused.
    type: dict
    default: {}
  stopped_options:
    description:
      - Options that are set in the file only, while the WebUI is not running. One that runs may not know them yet, when they
        belong to an extension that is new.
    type: dict
    default: {}
  lists:
    description:
      - Options that are lists, of which only some members are of concern. Each one is a mapping with C(present) and
        C(absent), lists of members; the others stay as they are.
    type: dict
    default: {}
  default_checkpoints:
    description:
      - Models in the order in which they are listed, as the filter P(sdops.webui.expected_models#filter) gives them. The first one
        that M(sdops.webui.model_files) has installed below O(webui_dir) as a checkpoint becomes C(sd_model_checkpoint).
      - Only in the file, while the WebUI is not running, and where the file names none yet. What was chosen in the page or is in
        O(options) or O(stopped_options) stays.
      - In check mode a checkpoint counts too that is not installed yet, if its name is known without asking its source.
    type: list
    elements: dict
    default: []
    version_added: 0.1.0
  webui_dir:
    description:
      - Edit C(config.json) in this directory. Only while the WebUI is not running, since it writes the file too.
      - Together with O(url), the file is edited when nothing answers there that may have the credentials, or when what runs
        was started with other ones and has to be restarted anyway.
    type: path
  url:
    description: Set the options of the WebUI that runs there.
    type: str
"""

EXAMPLES = r"""
- name: Ignore the last layer of CLIP
  sdops.webui.webui_options:
    url: http://127.0.0.1:6006
    credentials_file: /opt/sdops/secrets/webui-credentials
    options:
      CLIP_stop_at_last_layers: 2

- name: Disable one extension and enable another one, whatever the others are
  sdops.webui.webui_options:
    webui_dir: /root/autodl-tmp/stable-diffusion-webui
    lists:
      disabled_extensions:
        present: [sd-webui-lobe-theme]
        absent: [adetailer]

- name: Load the first listed checkpoint where nobody has chosen one yet
  sdops.webui.webui_options:
    webui_dir: /root/autodl-tmp/stable-diffusion-webui
    default_checkpoints: "{{ model_fetch_models | sdops.webui.expected_models('/root/autodl-tmp/stable-diffusion-webui') }}"
"""

RETURN = r"""
actions:
  description: What was set, or would be.
  returned: always
  type: list
  elements: str
  sample: ["set CLIP_stop_at_last_layers to 2"]
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError, WebuiError, WebuiStatusError
from ..module_utils.filesystem import load_json, write_atomic
from ..module_utils.models.record import ModelRecord
from ..module_utils.webui_api.access import ARGUMENTS, connect
from ..module_utils.webui_api.client import OPTION_EXAMPLES, Webui, convert_option, same_option


def read_config(path: str, check: bool) -> dict:
    if not os.path.isdir(os.path.dirname(path)) and not check:
        raise WebuiError(f"There is no directory {os.path.dirname(path)}. Run the role sd_webui, which makes it.")
    if not os.path.exists(path):
        return {}
    try:
        return load_json(path, follow=True)
    except ValueError as exc:
        raise WebuiError(
            f"{path} is no valid JSON ({exc}). Repair it, or move it away: the WebUI then starts with its defaults."
        ) from exc


def members(name: str, have: Any, changes: dict[str, list[str]]) -> list[str]:
    """The list with the members that shall be there, without those that shall not, in the order it has."""
    unknown = sorted(set(changes) - {"present", "absent"})
    if unknown or not isinstance(have, list):
        raise WebuiError(
            "lists: {} takes present and absent, and not {}.".format(name, ", ".join(unknown))
            if unknown
            else f"lists: the option {name} is {have!r} and no list."
        )
    remaining = [member for member in have if member not in (changes.get("absent") or [])]
    return remaining + [member for member in changes.get("present") or [] if member not in remaining]


def opened(p: dict[str, Any], check: bool) -> tuple[Webui | None, dict[str, Any]]:
    """(the WebUI, its options), or (None, those of its file)."""
    if p["url"]:
        try:
            webui = connect(p)
            return webui, webui.options()
        except WebuiError as exc:
            if not p["webui_dir"] or (isinstance(exc, WebuiStatusError) and exc.status != 401):
                raise
    return None, read_config(os.path.join(p["webui_dir"], "config.json"), check)


def find_default_checkpoint(webui_dir: str, models: list[dict[str, Any]], check: bool) -> str:
    """The name of the first of ``models`` that is there as a checkpoint, or in check mode will be; "" for none."""
    record = ModelRecord(webui_dir)
    for model in models:
        source_id, kind, name = (model.get(field) or "" for field in ("source_id", "kind", "name"))
        # the name that is expected of a source need not be the one that it gives
        installed = {**record.find_by_source(source_id, kind or None, None)}
        installed = record.find_by_source(source_id, kind or None, name or None) or installed
        for path, entry in installed.items():
            if entry["kind"] == "checkpoint" and os.path.exists(path):
                return os.path.basename(path)
        if check and kind == "checkpoint" and name:
            return str(name)
    return ""


def apply_options(module: AnsibleModule) -> dict:
    p = module.params
    webui, have = opened(p, module.check_mode)
    options = p["options"] if webui else {**p["options"], **p["stopped_options"]}
    if not webui and not have.get("sd_model_checkpoint") and not options.get("sd_model_checkpoint"):
        default = find_default_checkpoint(p["webui_dir"], p["default_checkpoints"], module.check_mode)
        options = {**options, "sd_model_checkpoint": default} if default else options
    if webui:
        unknown = sorted({*options, *p["lists"]} - set(have))
        if unknown:
            raise WebuiError("The WebUI at {} has no option {}.".format(p["url"], ", ".join(unknown)))
    example = have if webui else {**have, **OPTION_EXAMPLES}
    requested = {name: convert_option(name, value, example.get(name)) for name, value in options.items()}
    same = webui.same_option if webui else same_option
    for name, changes in p["lists"].items():
        updated = members(name, have.get(name, []), changes)
        if updated or name in have:
            requested[name] = updated
    new = {k: v for k, v in requested.items() if k not in have or not same(k, v, have[k])}
    if new and not module.check_mode:
        if webui:
            webui.set_options(new)
        else:
            path = os.path.join(p["webui_dir"], "config.json")
            mode = os.stat(path).st_mode & 0o7777 if os.path.exists(path) else 0o644
            write_atomic(path, (json.dumps({**have, **new}, indent=4) + "\n").encode(), mode)
    old = {k: have[k] for k in new if k in have}
    return {
        "changed": bool(new),
        "actions": ["set {} to {!r}".format(*item) for item in sorted(new.items())],
        "diff": {"before": old, "after": new},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "options": {"type": "dict", "default": {}},
            "stopped_options": {"type": "dict", "default": {}},
            "lists": {"type": "dict", "default": {}},
            "default_checkpoints": {"type": "list", "elements": "dict", "default": []},
            "webui_dir": {"type": "path"},
        },
        required_one_of=[["webui_dir", "url"]],
        required_together=[["program", "supervisor_dir"]],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply_options(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()

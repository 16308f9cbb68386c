#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: git_pins
short_description: Keep git checkouts at pinned commits
version_added: 0.1.0
description:
  - Moves a list of checkouts to their commits, several at once. A checkout inside another one of the list waits for it.
  - A checkout that already stands at its commit costs no network, so a second run works while the network does not.
  - New checkouts appear under their final name only when they are complete, and a run that was killed is taken up where it
    was. Local changes are never thrown away; they only matter where the checkout would have to move. Untracked files are
    left alone.
  - The failure of one does not stop the others, but for those inside of it. The module fails at its end, with a cause and a next step for each.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.progress
attributes:
  check_mode:
    support: full
    details: Uses no network. What a O(repos[].ref) means is only known when an earlier run has looked it up.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  repos:
    description: The checkouts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name for messages and results; the directory name when not given.
        type: str
      repo:
        description: URL of the repository. An existing checkout whose C(origin) has another one gets this one.
        type: str
        required: true
        aliases: [url]
      commit:
        description: Full commit id, 40 hex digits. Exactly one of O(repos[].commit) and O(repos[].ref) is needed.
        type: str
      ref:
        description:
          - Tag or branch. It is looked up once and the commit remembered in the checkout's configuration, so that a later run
            stays there although the branch has moved. O(refresh) looks it up again.
        type: str
      dest:
        description: Directory of the checkout.
        type: path
        required: true
      submodules:
        description: Check out submodules too, recursively.
        type: bool
        default: false
  parallel:
    description: How many are moved at once.
    type: int
    default: 4
  retries:
    description: How often a failed transfer is tried again, unless the answer is final (no such repository).
    type: int
    default: 3
  filter:
    description: Partial clone filter for new checkouts. Empty for none. A server that rejects it gets a request without.
    type: str
    default: blob:none
  cache_dir:
    description:
      - Directory that hosts may share, in which each commit is kept as a pack file. A new checkout without history takes it from there;
        the first host fetches it, whole and without O(filter), while the others wait.
      - A pack that is damaged, or not the commit, is not used. Submodules are not in it.
    type: path
    version_added: 0.1.0
  refresh:
    description: Look refs up again, and move with branches.
    type: bool
    default: false
  programs_config:
    description:
      - Write a global git configuration there for programs that run git themselves, such as C(launch.py), with the user's own settings
        but without those that lead past the route, and for checkouts of any owner. RV(programs_environment) makes them use it.
    type: path
notes:
  - Checkouts stand on a branch of their own, C(sdops-pin), because the WebUI does not list extensions whose HEAD is detached.
    Commits that somebody made on it count as local changes.
  - C(http_proxy), C(https_proxy), C(no_proxy) and C(GIT_SSL_CAINFO) of the task's environment count. A proxy there wins over one in
    git's own configuration, and without one there the proxy that the role P(sdops.webui.xray_proxy#role) has set for git is not used.
  - New checkouts have no history (C(--depth=1)). An existing full clone stays one.
requirements:
  - git on the target
"""

EXAMPLES = r"""
- name: Check out the WebUI at version 1.10.1 and one of its sub-repositories
  sdops.webui.git_pins:
    repos:
      - repo: https://github.com/AUTOMATIC1111/stable-diffusion-webui.git
        commit: 82a973c04367123ae98bd9abdf80d9eda9b910e2
        dest: /root/autodl-tmp/stable-diffusion-webui
      - repo: https://github.com/salesforce/BLIP.git
        commit: 48211a1594f1321b00f14c9f7a5b4813144b2fb9
        dest: /root/autodl-tmp/stable-diffusion-webui/repositories/BLIP

- name: By tag, with submodules
  sdops.webui.git_pins:
    repos:
      - repo: https://github.com/facebookresearch/xformers.git
        ref: v0.0.23.post1
        submodules: true
        dest: /root/autodl-tmp/build/xformers
"""

RETURN = r"""
programs_environment:
  description: Environment variables that make this host's git use O(programs_config), whatever its version.
  returned: when O(programs_config) is given
  type: dict
  sample: {GIT_CONFIG_GLOBAL: /opt/sdops/webui/git/config}
repos:
  description: What became of each checkout, in the order of the option.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    dest:
      description: Its directory.
      type: str
      returned: always
    repo:
      description: URL, without credentials.
      type: str
      returned: always
    ref:
      description: The tag or branch that was given.
      type: str
      returned: always
    before:
      description: Commit it stood at; null when there was none.
      type: str
      returned: always
    after:
      description: Commit it stands at, or would; null when check mode cannot know.
      type: str
      returned: always
    status:
      description: V(ok), V(changed), V(failed), or V(skipped) inside of one that failed.
      type: str
      returned: always
    error:
      description: Why it failed.
      type: str
      returned: always
  sample:
    - name: BLIP
      dest: /root/autodl-tmp/stable-diffusion-webui/repositories/BLIP
      repo: https://github.com/salesforce/BLIP.git
      ref: null
      before: null
      after: 48211a1594f1321b00f14c9f7a5b4813144b2fb9
      status: changed
      error: null
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["clone https://github.com/salesforce/BLIP.git at 48211a1594f1 into /root/BLIP"]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.filesystem import read_regular, write_atomic
from ..module_utils.git.command import Git
from ..module_utils.git.commit_cache import CommitCache
from ..module_utils.git.move import apply_pins
from ..module_utils.git.pin import PinResult, parse_pin, partial_path
from ..module_utils.progress import report_bytes_written
from ..module_utils.secrets import mask_secrets
from ..module_utils.urls import redact_logins, url_login_secrets


def as_result(results: list[PinResult]) -> dict[str, Any]:
    changed = [o for o in results if o.actions]
    return {
        "changed": bool(changed),
        "actions": [action for o in results for action in o.actions],
        "repos": [
            {
                "name": o.pin.name,
                "dest": o.pin.dest,
                "repo": redact_logins(o.pin.url),
                "ref": o.pin.ref,
                "before": o.before,
                "after": o.after,
                "status": "failed" if o.error else "skipped" if o.skipped else "changed" if o.actions else "ok",
                "error": o.error,
            }
            for o in results
        ],
        "diff": {
            "before": "".join(f"{o.pin.dest} {o.was}\n" for o in changed),
            "after": "".join(f"{o.pin.dest} {o.becomes}\n" for o in changed),
        },
    }


def write_programs_config(git: Git, path: str, check: bool, result: dict[str, Any]) -> str:
    """Write the file where it differs and note it in ``result``; returns a warning or "".

    It may hold the user's logins, so only its name is reported.
    """
    text, with_system = git.config_for_programs()
    data = text.encode("utf-8", "surrogateescape")
    environment = {"GIT_CONFIG_GLOBAL": path}
    if with_system:
        environment["GIT_CONFIG_NOSYSTEM"] = "1"
    version = git.version()
    old = (0,) < version < (2, 32)
    if old:  # which know GIT_CONFIG_GLOBAL not yet, and take safe.directory from files only
        environment["XDG_CONFIG_HOME"] = os.path.dirname(os.path.dirname(path))
    result["programs_environment"] = environment
    if not os.path.exists(path) or read_regular(path, follow=True) != data:
        result["changed"] = True
        result["actions"].append(f"write {path}")
        result["diff"]["before"] += f"{path} is {'another' if os.path.exists(path) else 'not there'}\n"
        result["diff"]["after"] += f"{path} has the settings of git for the programs\n"
        if not check:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomic(path, data, 0o600)
    if not (old and with_system):
        return ""
    return (
        "git {} of this host reads ~/.gitconfig in any case, so its settings that lead past the chosen route (http.URL.proxy, "
        "url.URL.insteadOf) count for the git that other programs run, such as launch.py. Take them out of ~/.gitconfig, or install "
        "git 2.32 or newer.".format(".".join(map(str, version)))
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repos": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str"},
                    "repo": {"type": "str", "required": True, "aliases": ["url"]},
                    "commit": {"type": "str"},
                    "ref": {"type": "str"},
                    "dest": {"type": "path", "required": True},
                    "submodules": {"type": "bool", "default": False},
                },
                "mutually_exclusive": [["commit", "ref"]],
                "required_one_of": [["commit", "ref"]],
            },
            "parallel": {"type": "int", "default": 4},
            "retries": {"type": "int", "default": 3},
            "filter": {"type": "str", "default": "blob:none"},
            "cache_dir": {"type": "path"},
            "refresh": {"type": "bool", "default": False},
            "programs_config": {"type": "path"},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    p = module.params
    for entry in p["repos"]:
        # the arguments are part of every result: what is secret in a URL is masked there
        mask_secrets(module, url_login_secrets(entry["repo"]))
    try:
        pins = [parse_pin(entry) for entry in p["repos"]]
        with Git([d for pin in pins for d in (pin.dest, partial_path(pin.dest))], p["retries"]) as git:
            if not git.program:
                if not module.check_mode:
                    raise SdopsError(
                        "git is not installed on this host. Install it (Debian: apt install git), or run the role base."
                    )
                module.warn("git is not installed yet; the plan assumes that nothing is checked out.")
            cache = CommitCache(p["cache_dir"], git) if p["cache_dir"] else None
            watched = None if module.check_mode else p["progress_file"]
            with report_bytes_written(watched, ", ".join(pin.name for pin in pins)):
                results = apply_pins(pins, git, p["parallel"], module.check_mode, p["filter"], p["refresh"], cache)
            result = as_result(results)
            if p["programs_config"]:
                warning = write_programs_config(git, p["programs_config"], module.check_mode, result)
                if warning:
                    module.warn(warning)
    except (SdopsError, OSError) as exc:
        module.fail_json(msg=str(exc))
    errors = [o.error for o in results if o.error]
    if errors:
        module.fail_json(msg=f"{len(errors)} of {len(results)} checkouts failed. " + "\n".join(errors), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

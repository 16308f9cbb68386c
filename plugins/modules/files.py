#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Directories, small files, blocks in files and links in one task
version_added: 0.1.0
description:
  - Does in one task what C(ansible.builtin.file), C(copy), C(template) and C(blockinfile) do one by one. The content of a template comes
    from C(lookup('ansible.builtin.template', ...)).
  - Entries are applied in their order. When one fails, those before it stay applied.
  - Files get their names when they are complete. One that is replaced keeps its owner.
  - Not for secrets, since a diff shows the content.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
    details: O(entries[].validate) is not run.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  entries:
    description: What shall lie where.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      state:
        description:
          - V(directory), with those above it that are missing.
          - V(file) with O(entries[].content); without content a file that has to be there, whose mode is set.
          - V(block) of lines in a file that is somebody else's; a link there is followed.
          - V(link), a symbolic link to O(entries[].target).
          - V(absent), whatever is there.
        type: str
        choices: [directory, file, block, link, absent]
        default: file
      content:
        description: Text of the file or block. An empty block is removed.
        type: str
      mode:
        description: Mode in octal digits, as text. Without one, that of an existing file or directory stays.
        type: raw
      create_mode:
        description: Mode of a file that is created, written like O(entries[].mode); an existing one keeps its own.
        type: raw
      marker:
        description: The lines before and after the block, with C({mark}) for C(BEGIN) and C(END).
        type: str
      insert:
        description: Where a new block goes, to the V(end) or to the V(start), there after a first line with C(#!).
        type: str
        choices: [end, start]
        default: end
      target:
        description: Where the link leads to.
        type: str
      validate:
        description: Command that accepts the file, V(%s), before it gets its name.
        type: str
      brief_diff:
        description: The diff of a file tells its number of lines only. For programs that nobody reads in a plan.
        type: bool
        default: false
      backup:
        description: Keep a copy of a file that is replaced, with the time in its name.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Write the files of a service
  sdops.webui.files:
    entries:
      - path: /opt/sdops/log
        state: directory
        mode: "0700"
      - path: /opt/sdops/webui/launch.json
        content: "{{ lookup('ansible.builtin.template', 'launch.json.j2') }}"
        mode: "0600"
      - path: /root/.gitconfig
        state: block
        marker: "# {mark} sdops.webui proxy"
        content: |
          [http]
            proxy = http://127.0.0.1:10809
        create_mode: "0644"
"""

RETURN = r"""
entries:
  description: What became of each entry, in the order of the option.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Its path.
      type: str
      returned: always
    state:
      description: Its state.
      type: str
      returned: always
    changed:
      description: Whether something differed.
      type: bool
      returned: always
    checksum:
      description: SHA-256 of the file's content, null for what is no file.
      type: str
      returned: always
  sample:
    - {path: /opt/sdops/log, state: directory, changed: false, checksum: null}
changed_paths:
  description: Paths of the entries that differed.
  returned: success
  type: list
  elements: str
  sample: [/root/.gitconfig]
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [change /root/.gitconfig]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.file_entries import EntryResult, EntryWriter, parse_file_entry

ENTRY_OPTIONS = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["directory", "file", "block", "link", "absent"], "default": "file"},
    "content": {"type": "str"},
    "mode": {"type": "raw"},  # not str: 0644 without quotes is the number 420
    "create_mode": {"type": "raw"},
    "marker": {"type": "str"},
    "insert": {"type": "str", "choices": ["end", "start"], "default": "end"},
    "target": {"type": "str"},
    "validate": {"type": "str"},
    "backup": {"type": "bool", "default": False},
    "brief_diff": {"type": "bool", "default": False},
}


def describe_entries(results: list[EntryResult]) -> dict[str, Any]:
    changed = [each for each in results if each.actions]
    return {
        "changed": bool(changed),
        "actions": [action for each in changed for action in each.actions],
        "changed_paths": [each.entry.path for each in changed],
        "entries": [
            {
                "path": each.entry.path,
                "state": each.entry.state,
                "changed": bool(each.actions),
                "checksum": each.checksum,
            }
            for each in results
        ],
        "diff": [diff for each in changed for diff in each.diffs],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={"entries": {"type": "list", "elements": "dict", "required": True, "options": ENTRY_OPTIONS}},
        supports_check_mode=True,
    )
    given = module.params["entries"]
    # the contents are in the diff already, where one is asked for
    arguments = [{name: value for name, value in entry.items() if name != "content"} for entry in given]
    invocation = {"module_args": {"entries": arguments}}
    results: list[EntryResult] = []
    writer = EntryWriter(module.check_mode, module.backup_local)
    try:
        for entry in [parse_file_entry(each) for each in given]:
            results.append(writer.apply(entry))
    except (SdopsError, OSError) as exc:
        module.fail_json(msg=str(exc), invocation=invocation, **describe_entries(results))
    module.exit_json(invocation=invocation, **describe_entries(results))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_files
short_description: Models in the directories of the WebUI
version_added: 0.1.0
description:
  - Brings a list of models from Hugging Face, Civitai, plain URLs, magnet links or the target's own disk into the directories
    where the WebUI looks for them, several at once, each over several connections.
  - All sources are asked first. Nothing is fetched unless the disks have space for the whole batch.
  - Every file is verified (size and hash as its source reports, structure by its format) before it appears under its final name.
  - What was placed is recorded below O(webui_dir), so a second run costs a stat for each file and no network.
  - A file that already lies there is verified and adopted; one that is another file, not placed by this module or changed since, is
    left alone and the model fails. It is replaced only if it is empty, a web page, a git-lfs pointer, or a truncated copy of the
    wanted file. Where the source reports no hash and no record is left, a file of the same size and a sound structure is taken for
    the wanted one; C(sha256) makes it sure.
  - A download that was cut, killed or powered off is resumed, if the file at the source is still the same.
  - One model that fails does not stop the others; at the end the module fails with the cause of each.
  - While files are being fetched, a line for each reports how far it is.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.progress
  - sdops.webui.transfer
attributes:
  check_mode:
    support: full
    details: Nothing starts in the background. Sources are asked for metadata only; what the target cannot ask yet is
      reported as unresolved, with the size that the controller is told.
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - Ctrl-C and the task keyword C(timeout) stop the module on the target. What it has fetched is kept, and the next run
    resumes.
  - When the connection breaks, the download goes on. The task looks again for up to five minutes before the host counts as
    unreachable.
  - With C(no_log) on the task, the lines show a percentage and no file names.
options:
  webui_dir:
    description:
      - Directory of the WebUI, or its data directory. It must be there already, unless O(create) says otherwise, so that a typo is not
        taken for a place to fill.
    type: path
    required: true
  create:
    description: Whether O(webui_dir) is made where it does not exist, and used where it is no WebUI's.
    type: bool
    default: false
    version_added: 0.1.0
  models:
    description:
      - The models. A string is a name from the catalog, as C(sdxl-base-1.0) (docs/models.md lists them), or a source.
        C(hf://OWNER/REPO@REVISION/PATH) or C(hf://OWNER/REPO/PATH@REVISION), C(civitai://VERSION_ID), which may end in C(?fileId=) or
        C(?type=&format=&size=&fp=), an AIR URN, C(https://...) (also a page of a file on Hugging Face, on Civitai, or on the mirrors in
        O(huggingface_endpoint) and O(civitai_endpoint)), C(file:///...), or C(magnet:?...), which needs aria2 on the target.
      - A link of C(civitai.red) or C(civitai.green) is asked for there, all else of Civitai at O(civitai_endpoint).
      - An entry that cannot be understood does not stop the others; the module fails at its end and names it.
      - Several spellings of one source are one file, and so are two sources for one path with equal hashes.
      - A mapping has C(source) and may have C(kind), C(name), C(sha256), C(config) (a source, placed as C(NAME.yaml) beside it)
        and C(vae) (a source or a name, placed as C(NAME.vae.EXT) beside it). Beside a name from the catalog, these
        win. For a magnet link with several files, C(file) names the one.
      - C(sha256) decides where Civitai lists another one for the file, with a warning.
      - C(trusted), together with C(sha256), takes a file for its hash alone. It is not scanned, and a pickle needs no
        O(allow_pickle). For files whose maker publishes the hash and that hold more than weights, as detectors of YOLO do.
      - C(accept_change) is O(accept_change) for this model alone.
      - C(state=absent) removes one model, as O(state=absent) does all. It removes too what was installed for another source at the
        path that is known of it without asking its source, and what no entry without it wants. A file that lies there and was not
        placed by this module, or is wanted by another O(list_name), stays, and the entry fails.
      - C(config) and C(vae) may be mappings too, of C(source), C(sha256) and C(trusted). A C(config) is code to the WebUI. Its
        C(target) values must name classes below C(ldm), C(sgm), C(torch.nn) or the WebUI's own models, unless it is taken for its
        C(sha256) with C(trusted).
      - Kinds are C(checkpoint), C(lora), C(embedding), C(vae), C(hypernetwork), C(upscaler), C(codeformer), C(gfpgan),
        C(controlnet), C(adetailer), C(roop), C(insightface) and C(additional_networks_lora). Civitai reports the kind, other
        sources do not.
      - A source under two names, or as two kinds, is two models. Without C(name) the one under the source's own name is meant.
      - User and password of a URL, and parameters of its query that are known for secrets by their names (C(token), C(key),
        C(signature), C(X-Amz-Credential) and the like) are masked in results. No query is recorded.
    type: list
    elements: raw
    required: true
  state:
    description:
      - V(absent) removes what this module placed for these models with the sidecars beside them, and nothing else. Of a model that
        was never finished it removes the part, where its path is known without asking the source.
      - V(prefetched) starts to download in the background what is not recorded as placed, and returns at once. Nothing is put into
        O(webui_dir), which need not be there yet. Files go into O(cache_dir), else into the directory C(.NAME.sdops-prefetch) beside
        O(webui_dir) (C(NAME) is the last part of its path), where V(present) finds them. It stops the download, resumes what is not
        complete, and reports everything, failures too.
      - Of files whose sources report no hash, and of magnet links, nothing comes in the background. Nothing comes either where less than
        12 GiB would be left on the disk of O(webui_dir), and one download at a time runs for a O(webui_dir).
      - The process ends with its last file, when another call of this module with V(present) begins, or when the directory is removed.
        It does not end when a playbook is interrupted.
    type: str
    choices: [present, absent, prefetched]
    default: present
  prune:
    description:
      - Whether to remove what the list O(list_name) had installed before and O(models) no longer name, at the end, when all
        that they name is there. Where an entry fails nothing is pruned. Not for O(state=absent) and O(state=prefetched).
      - What lay there before it was listed (it was adopted), what was changed since it was placed, and what another list wants
        stays.
    type: bool
    default: false
    version_added: 0.1.0
  list_name:
    description: Name of the list that O(models) are, where several lists have models in one O(webui_dir). It is recorded which of
      them want a file. Files that were installed without one are never pruned.
    type: str
    version_added: 0.1.0
  parallel:
    description: How many models are installed at once.
    type: int
    default: 2
  verify:
    description: V(recorded) trusts size and time of what was placed before, V(always) hashes it again. A file whose size and time are as
      recorded and whose content is not has been damaged by its disk; it is fetched again.
    type: str
    choices: [recorded, always]
    default: recorded
  cache_dir:
    description:
      - Content-addressed cache, may be shared between hosts. One host downloads, the others wait and take it from there.
      - On the same disk as O(webui_dir) a file in the cache and the model are one file with two names.
      - One that can only be read is read.
    type: path
  accept_change:
    description:
      - Whether other content is taken for a model that was placed before and is lost, where its source has changed since. By default such
        a model fails, with the recorded and the new SHA-256. It matters for sources that may change, as a plain URL, a branch on
        Hugging Face or a Civitai model without its version. C(sha256) of a model decides by itself.
      - Models that are still there are not asked for again, so they stay as they are.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Bring a checkpoint and a LoRA
  sdops.webui.model_files:
    webui_dir: /root/autodl-tmp/stable-diffusion-webui
    models:
      - sdxl-base-1.0
      - source: hf://stable-diffusion-v1-5/stable-diffusion-v1-5/v1-5-pruned-emaonly.safetensors@main
        kind: checkpoint
      - source: civitai://112969?type=Model&format=SafeTensor
        name: FilmVelvia3.safetensors
"""

RETURN = r"""
models:
  description: >-
    One entry for each file, none with O(state=prefetched). C(status) is ok, fetched, adopted, copied, from cache, removed or failed. In
    check mode, and when the disks have no space, it is what would be done, which is ok, fetch, adopt, copy, from cache or removed, or it is
    failed or unresolved (the source cannot be asked yet). C(reason), with failed and unresolved, says why.
  returned: always
  type: list
  elements: dict
  sample:
    - name: FilmVelvia3.safetensors
      kind: lora
      path: /root/autodl-tmp/stable-diffusion-webui/models/Lora/FilmVelvia3.safetensors
      sha256: 6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa
      bytes: 151112345
      source: civitai://112969?type=Model&format=SafeTensor
      revision: "112969"
      status: fetched
      seconds: 12.5
bytes_planned:
  description: Bytes that would be fetched, as far as the sources or the catalog report; without what an earlier run has left of them.
  returned: in check mode, and when the disks have no space
  type: int
  sample: 4265146304
space_needed:
  description: Bytes that the disks of O(webui_dir) and O(cache_dir) would have to have free for the batch, as far as is known.
  returned: in check mode, and when the disks have no space
  type: int
  sample: 4265146304
bytes_removed:
  description: Bytes of the files that were removed, or would be. The disk does not get them back where the file has another name, in
    O(cache_dir) say.
  returned: always, except for O(state=prefetched)
  type: int
  sample: 151112345
bytes_fetched:
  description: Bytes of the files that were fetched.
  returned: outside check mode, unless the disks have no space or O(state=prefetched)
  type: int
  sample: 4265146304
disk_free:
  description: Free bytes on the disk of O(webui_dir). Null when its file system does not report it.
  returned: always
  type: int
  sample: 50000000000
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [fetch models/Lora/FilmVelvia3.safetensors]
"""

import contextlib
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import InsufficientSpaceError, PrefetchError, SdopsError
from ..module_utils.filesystem import reject_unusable_directory
from ..module_utils.models.arguments import (
    TRANSFER_ARGUMENTS,
    describe_unsent_tokens,
    list_tokens,
    make_installer,
)
from ..module_utils.models.layout import reject_unmanaged_directory
from ..module_utils.models.model_file import FileStatus, ModelFile
from ..module_utils.models.prefetch import PrefetchDirectory
from ..module_utils.models.record import ModelRecord
from ..module_utils.models.spec import Endpoints, ModelSpec, find_entry_secrets, parse_model_entries
from ..module_utils.secrets import mask_secrets
from ..module_utils.terminal import printable
from ..module_utils.transfer.disk_space import free_bytes

ACTION_VERBS = {
    FileStatus.FETCH: "fetch",
    FileStatus.FETCHED: "fetch",
    FileStatus.ADOPT: "adopt",
    FileStatus.ADOPTED: "adopt",
    FileStatus.COPY: "copy",
    FileStatus.COPIED: "copy",
    FileStatus.FROM_CACHE: "take from the cache",
    FileStatus.REMOVED: "remove",
    FileStatus.UNRESOLVED: "fetch",
}


def describe_file(file: ModelFile) -> str:
    """Its path, or its source where that is not known; of one that goes, its bytes too."""
    gone = file.status is FileStatus.REMOVED and file.size is not None
    return f"{file.path or file.spec.label}" + (f" ({file.size} bytes)" if gone else "")


def describe_changes(files: list[ModelFile], only_removed: bool) -> dict[str, Any]:
    """The part of the result that says what was changed, or would be; ``only_removed``: nothing was installed."""
    removed = [file for file in files if file.status is FileStatus.REMOVED]
    others = [file for file in files if file.status in ACTION_VERBS and file not in removed and not only_removed]
    return {
        "changed": bool(removed or others),
        "actions": [f"{ACTION_VERBS[file.status]} {describe_file(file)}" for file in others + removed],
        "diff": {
            "before": "".join(f"{describe_file(file)}\n" for file in removed),
            "after": "".join(f"{describe_file(file)}\n" for file in others),
        },
        "bytes_removed": sum(file.size or 0 for file in removed),
    }


def start_prefetch(module: AnsibleModule, specs: list[ModelSpec], directory: PrefetchDirectory) -> dict[str, Any]:
    """Start a download in the background; the module's result. That it cannot be started is a warning."""
    p = module.params
    record = ModelRecord(p["webui_dir"])
    missing = [
        spec
        for spec in specs
        if not spec.problem and not spec.absent and not record.find_by_source(spec.source_id, spec.kind, spec.name)
    ]

    def job(check: Callable[[], None]) -> None:
        # whatever goes wrong goes wrong again, and is reported, when the models are installed
        with contextlib.suppress(Exception):
            options = {**p, "verify": "recorded", "progress_file": None}
            installer = make_installer(options, p["webui_dir"], False, directory, check)
            installer.prefetch_all(missing, p["parallel"], directory)

    started = bool(missing)
    if missing and not module.check_mode:
        try:
            started = directory.start_job(job)
        except PrefetchError as exc:
            started = False
            module.warn(f"The download does not start in the background: {exc} The models are fetched later.")
    actions = [f"start to fetch {printable(spec.label)} in the background" for spec in missing] if started else []
    return {
        "changed": started,
        "models": [],
        "disk_free": free_bytes(p["webui_dir"]),
        "actions": actions,
        "diff": {"before": "", "after": "".join(f"{action}\n" for action in actions)},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "webui_dir": {"type": "path", "required": True},
            "create": {"type": "bool", "default": False},
            "models": {"type": "list", "elements": "raw", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "prefetched"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "list_name": {"type": "str"},
            "parallel": {"type": "int", "default": 2},
            "verify": {"type": "str", "choices": ["recorded", "always"], "default": "recorded"},
            "cache_dir": {"type": "path"},
            "progress_file": {"type": "path"},
            "accept_change": {"type": "bool", "default": False},
            **TRANSFER_ARGUMENTS,
        },
        required_if=[["prune", True, ["list_name"]]],
        supports_check_mode=True,
    )
    p = module.params
    mask_secrets(module, list_tokens(p))
    space_problem = ""
    secrets = [secret for entry in p["models"] for secret in find_entry_secrets(entry)]
    prefetch_dir = PrefetchDirectory(p["webui_dir"])
    try:
        endpoints = Endpoints(p["huggingface_endpoint"], p["civitai_endpoint"])
        specs = parse_model_entries(p["models"], endpoints, p["list_name"] or "models")
        installer = make_installer(p, p["webui_dir"], module.check_mode, prefetch_dir)
        if p["state"] == "prefetched":
            mask_secrets(module, secrets)
            module.exit_json(**start_prefetch(module, specs, prefetch_dir))
        if p["state"] == "present":
            if not p["create"]:
                reject_unusable_directory(p["webui_dir"])
                reject_unmanaged_directory(p["webui_dir"])
            files = installer.install_all(specs, p["parallel"], p["prune"])
        else:
            files = [file for spec in specs for file in installer.remove(spec)]
    except InsufficientSpaceError as exc:
        files, space_problem = exc.files, str(exc)
    except SdopsError as exc:
        mask_secrets(module, secrets)
        module.fail_json(msg=str(exc))
    entries = [file.result() for file in files]
    mask_secrets(module, secrets, [str(entry[field]) for entry in entries for field in ("name", "path", "source")])
    plan = module.check_mode or bool(space_problem)
    # what is removed makes space, so it goes before that is looked at
    only_removed = bool(space_problem) and not module.check_mode
    result = {"models": entries, "disk_free": free_bytes(p["webui_dir"]), **describe_changes(files, only_removed)}
    if plan:
        result["bytes_planned"] = sum(file.bytes_planned for file in files)
        result["space_needed"] = installer.space_needed
    else:
        result["bytes_fetched"] = sum(file.received for file in files)
    unresolved = [file for file in files if file.status is FileStatus.UNRESOLVED]
    for reason in dict.fromkeys(file.reason for file in unresolved):
        listed = ", ".join(file.spec.label for file in unresolved if file.reason == reason)
        module.warn(f"{listed} cannot be asked for yet: {reason}")
    for sentence in [warning for file in files for warning in file.warnings]:
        module.warn(sentence)
    for sentence in installer.warnings + describe_unsent_tokens(p):
        module.warn(sentence)
    failed = [file for file in files if file.status is FileStatus.FAILED]
    labels = [printable(file.spec.label) for file in failed]
    causes = [i.reason if label in i.reason else f"{label}: {i.reason}" for label, i in zip(labels, failed)]
    if failed:
        causes.insert(0, f"{len(failed)} of {len(files)} files failed.")
    if space_problem:
        causes.insert(0, space_problem)
    if causes:
        module.fail_json(msg=" ".join(causes), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

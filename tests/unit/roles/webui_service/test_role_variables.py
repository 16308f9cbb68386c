"""What roles/webui_service/vars/main.yml makes of the inventory: Ansible itself works it out, one host for each case."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, ROOT

ROLE = ROOT / "roles/webui_service"


def evaluate(
    base: Path, expression: str, hosts: list[dict[str, Any]], *arguments: str, **environment: str
) -> list[Any]:
    """What ``expression`` is for each of ``hosts``, whose variables are given and whose names are box0, box1, ..."""
    inventory, playbook, config = base / "hosts.json", base / "play.yml", base / "ansible.cfg"
    config.touch()
    names = {f"box{number}": given for number, given in enumerate(hosts)}
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    inventory.write_text(json.dumps({"all": {"hosts": names, "vars": defaults}}))
    task = {"ansible.builtin.debug": {"msg": f"{{{{ [{expression}] | to_json }}}}"}, "tags": ["always"]}
    shared = yaml.safe_load((ROOT / "roles/sdops/vars/main.yml").read_text())
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"__sdops_selected_roles": shared["__sdops_selected_roles"]},
        "vars_files": [f"{ROLE}/vars/main.yml"],
        "tasks": [task],
    }
    playbook.write_text(json.dumps([play]))
    result = subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, playbook, *arguments],
        env={**ansible_environment(), "ANSIBLE_CONFIG": str(config), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = dict(re.findall(r"(?m)^ok: \[(box\d+)\] => (\{(?:.*\n)+?\})$", result.stdout))
    return [json.loads(json.loads(found[name])["msg"])[0] for name in names]


def test_the_tunnel_is_connected_as_ansible_is(tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        # an alias of ~/.ssh/config has its own port and user
        ({}, "box0"),
        ({"ansible_host": "203.0.113.7"}, "203.0.113.7"),
        ({"ansible_port": 12345, "ansible_user": "me"}, "-p 12345 me@box2"),
        ({"ansible_ssh_port": "{{ 22 }}", "ansible_ssh_user": "me", "ansible_ssh_host": "h"}, "-p 22 me@h"),
        ({"ansible_ssh_private_key_file": "/a b"}, "-i '/a b' box4"),
        ({"ansible_private_key_file": "/k"}, "-i /k box5"),
        ({"ansible_ssh_extra_args": "-J {{ inventory_hostname }}x"}, "-J box6x box6"),
        ({"ansible_ssh_common_args": "-o A=b"}, "-o A=b box7"),
        (
            {"ansible_ssh_args": "-o ControlMaster=auto -oControlPath=/x -J j", "ansible_ssh_extra_args": "-C"},
            "-J j -C box8",
        ),
    ]
    hosts = [{"webui_service_port": 6006, **given} for given, _command in cases]
    found = evaluate(tmp_path, "__webui_service_tunnel", hosts)
    assert found == [f"ssh -N -L 6006:127.0.0.1:6006 {command}" for _given, command in cases]


def test_the_tunnel_knows_the_configuration_of_ansible(tmp_path):
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\nremote_user = me\n[ssh_connection]\nssh_args = -o ControlMaster=auto -J j\n"
    )
    (command,) = evaluate(
        tmp_path,
        "__webui_service_tunnel",
        [{"webui_service_port": 1}],
        "--ssh-extra-args=-C",
        ANSIBLE_REMOTE_PORT="2222",
    )
    assert command == "ssh -N -L 1:127.0.0.1:1 -p 2222 -J j -C me@box0"


def test_a_relative_directory_of_images_lies_beside_the_inventory(tmp_path):
    given = ["/srv/images", "images", "~/images"]
    hosts = [{"webui_service_outputs_dir": path} for path in given]
    found = evaluate(tmp_path, "__webui_service_outputs_dir", hosts, HOME="/home/me")
    assert found == ["/srv/images", f"{tmp_path}/images", "/home/me/images"]


def test_rules_hold_for_a_run_that_starts_the_webui(tmp_path):
    shared = {
        "__sdops_host": {"checkpoints": {"/w": False}},
        "sdops_gpu_pending": False,
        "webui_service_port": 6006,
        "webui_service_data_dir": "/w",
    }
    listed = {**shared, "__model_fetch_expected": [{"kind": "checkpoint"}]}
    # for a checkpoint that nobody lists, and for one that is listed
    for arguments, expected in [
        ([], ["model_fetch_models has none", ""]),
        (["--tags", "webui_service"], ["model_fetch_models has none", "the tags of this run leave out model_fetch"]),
        (["--skip-tags", "model_fetch"], ["model_fetch_models has none", "the tags of this run leave out model_fetch"]),
        (["--tags", "model_fetch,webui_service"], ["model_fetch_models has none", ""]),
        (["--skip-tags", "webui_service"], None),
        (["--tags", "sd_webui"], None),
    ]:
        names = "'webui_service' in __sdops_selected_roles, __webui_service_checkpoint_missing, __webui_service_checkpoint_message"
        found = evaluate(tmp_path, f"[{names}]", [shared, listed], *arguments)
        for (selected, missing, message), part in zip(found, expected or ["", ""]):
            assert (selected, missing) == (expected is not None, bool(part)), arguments
            assert part in message or not missing, arguments

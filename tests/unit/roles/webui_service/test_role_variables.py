"""What roles/webui_service/vars/main.yml makes of the inventory: Ansible itself works it out, one host for each case."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, COLLECTIONS, ROOT

ROLE = ROOT / "roles/webui_service"


def evaluate(
    base: Path, expression: str, hosts: list[dict[str, Any]], *arguments: str, **environment: str
) -> list[Any]:
    """What ``expression`` is for each of ``hosts``, whose variables are given and whose names are box0, box1, ..."""
    inventory, playbook = base / "hosts.json", base / "play.yml"
    names = {f"box{number}": given for number, given in enumerate(hosts)}
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    inventory.write_text(json.dumps({"all": {"hosts": names, "vars": defaults}}))
    task = {"ansible.builtin.debug": {"msg": f"{{{{ [{expression}] | to_json }}}}"}, "tags": ["always"]}
    play = {"hosts": "all", "gather_facts": False, "vars_files": [f"{ROLE}/vars/main.yml"], "tasks": [task]}
    playbook.write_text(json.dumps([play]))
    result = subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, playbook, *arguments],
        env={**ansible_environment(), **environment},
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
    config = tmp_path / "ansible.cfg"
    config.write_text(f"[defaults]\ncollections_path = {COLLECTIONS}\n")
    hosts = [{"webui_service_port": 6006, **given} for given, _command in cases]
    found = evaluate(tmp_path, "__webui_service_tunnel", hosts, ANSIBLE_CONFIG=str(config))
    assert found == [f"ssh -N -L 6006:127.0.0.1:6006 {command}" for _given, command in cases]


def test_the_tunnel_knows_the_configuration_of_ansible(tmp_path):
    config = tmp_path / "ansible.cfg"
    config.write_text("[defaults]\nremote_user = me\n[ssh_connection]\nssh_args = -o ControlMaster=auto -J j\n")
    (command,) = evaluate(
        tmp_path,
        "__webui_service_tunnel",
        [{"webui_service_port": 1}],
        "--ssh-extra-args=-C",
        ANSIBLE_CONFIG=str(config),
        ANSIBLE_REMOTE_PORT="2222",
    )
    assert command == "ssh -N -L 1:127.0.0.1:1 -p 2222 -J j -C me@box0"

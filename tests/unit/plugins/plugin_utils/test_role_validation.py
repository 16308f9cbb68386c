"""What is wrong with variables and host of roles. Oracle for types: Ansible's own validate_argument_spec, in a real play."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultSecret, VaultSecretsContext
from ansible.template import Templar, trust_as_template
from ansible_collections.sdops.webui.plugins.plugin_utils.role_options import role_options
from ansible_collections.sdops.webui.plugins.plugin_utils.role_validation import (
    argument_spec_errors,
    check_variables,
    evaluate_rules,
    merge_host_requests,
    merge_host_states,
    old_core_error,
)
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, ROOT

SPECS = role_options()


def trusted(value: Any) -> Any:
    """``value`` as if it came from an inventory: its texts are templates."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, list):
        return [trusted(each) for each in value]
    if isinstance(value, dict):
        return {name: trusted(each) for name, each in value.items()}
    return value


def engine(**variables: Any) -> Templar:
    return Templar(DataLoader(), trusted(variables))


def check(roles: list[str], fixed: dict[str, Any] | None = None, **variables: Any) -> tuple[list[str], dict]:
    found = check_variables(roles, engine(**variables), fixed or {})
    return found.errors, found.stripped


# --- variables -------------------------------------------------------------------------------------------------------
WRONG_TYPES = {
    "sdops_network_timeout": "soon",
    "sdops_mirrors": "none",
    "sdops_device": "tpu",
    "webui_service_listen": "perhaps",
    "webui_service_port": "six",
    "webui_service_preset": "wild",
    "xray_proxy_verify_retries": "often",
    "model_fetch_verify": "sometimes",
    "sd_webui_repositories": [{"name": "x"}],
    "xray_proxy_geo_files": [{"name": "x.dat"}],
    "extensions_roop_threshold": "low",
    "webui_service_options": [1],
}
GOOD = {
    "sdops_network_timeout": "8",
    "sdops_mirrors": {},
    "sdops_device": "cpu",
    "webui_service_listen": "yes",
    "webui_service_port": "6006",
    "conda_env_packages": [],
}


def rejected_by_ansible(values: dict[str, Any], tmp_path: Path) -> set[str]:
    """Names of ``values`` that the module validate_argument_spec rejects."""
    cases = [{"name": name, "spec": {name: SPECS[name]}, "values": {name: value}} for name, value in values.items()]
    validate = {
        "ansible.builtin.validate_argument_spec": {
            "argument_spec": "{{ item.spec }}",
            "provided_arguments": "{{ item['values'] }}",
        },
        "loop": cases,
        "register": "found",
        "ignore_errors": True,
    }
    report = {
        "ansible.builtin.copy": {
            "dest": f"{tmp_path}/rejected.json",
            "content": "{{ found.results | selectattr('failed', 'true') | map(attribute='item.name') | to_json }}",
            "mode": "0600",
        }
    }
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [validate, report]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [
            BIN / "ansible-playbook",
            "-i",
            "localhost,",
            f"-eansible_python_interpreter={sys.executable}",
            tmp_path / "play.yml",
        ],
        env=ansible_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads((tmp_path / "rejected.json").read_text()))


def test_types_are_rejected_as_ansible_rejects_them(tmp_path):
    assert rejected_by_ansible(WRONG_TYPES, tmp_path) == set(WRONG_TYPES)
    assert rejected_by_ansible(GOOD, tmp_path) == set() and argument_spec_errors(GOOD, SPECS) == {}
    found = argument_spec_errors(WRONG_TYPES, SPECS)
    assert set(found) == set(WRONG_TYPES)
    for name, error in found.items():
        assert error.startswith(f"{name} does not fit its argument specification") and error.endswith(".")
    # each is reported once, by the friendlier sentence where there is one
    roles = ["xray_proxy", "webui_service", "model_fetch", "sd_webui", "extensions"]
    errors, _ = check(roles, **WRONG_TYPES)
    assert sorted(error.split()[0] for error in errors) == sorted(WRONG_TYPES), errors


def test_value_of_a_secret_is_in_no_message():
    values = {
        "webui_service_options": "hunter2",
        "webui_service_environment": ["hunter2"],
        "webui_service_extra_args": {"hunter2": 1},
    }
    found = argument_spec_errors(values, SPECS)
    assert set(found) == set(values) and "hunter2" not in str(found)
    assert "hunter2" not in str(check(["webui_service"], **values))


def test_mistakes_of_several_roles_are_reported_together():
    errors, stripped = check(
        ["webui_service", "conda_env"], sdops_home="opt", webui_service_port="six", conda_env_python="3.10"
    )
    assert [error.split()[0] for error in errors] == ["sdops_home", "webui_service_port", "conda_env_python"]
    assert stripped == {}
    # of another role nothing is said
    assert [error.split()[0] for error in check([], sdops_home="opt", webui_service_port="six")[0]] == ["sdops_home"]


def test_derived_value_is_no_mistake_of_its_own():
    values = {
        "sdops_home": "opt",
        "sdops_data_dir": "{{ sdops_home }}/data",
        "sdops_webui_dir": "{{ sdops_data_dir }}/w",
    }
    (error,) = check([], **values)[0]
    assert error.startswith("sdops_home is")


def test_template_that_fails_is_named():
    (error,) = check([], sdops_cache_dir="{{ no_such_variable }}/cache")[0]
    assert error.startswith("sdops_cache_dir cannot be worked out: 'no_such_variable' is undefined")


@pytest.mark.parametrize(
    ("given", "reason"), [(None, "no vault password was given"), ("wrong", "no given vault password opens it")]
)
def test_encrypted_value_that_cannot_be_read_is_named(sealed, monkeypatch, given, reason):
    secrets = [("default", VaultSecret(given.encode()))] if given else []
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext(secrets=secrets))
    errors, _ = check(
        ["model_fetch", "webui_service"],
        model_fetch_civitai_token=sealed,
        model_fetch_huggingface_token="{{ mine.token }}",
        mine={"token": sealed},
        webui_service_environment={"KEY": sealed},
        others=sealed,
        sdops_home="opt",
    )
    advice = "Add --ask-vault-pass or --vault-password-file, with the password that encrypted it."
    assert sorted(errors)[:3] == [
        f"model_fetch_civitai_token is encrypted, and {reason}. {advice}",
        f"model_fetch_huggingface_token is made of mine, which is encrypted, and {reason}. {advice}",
        'sdops_home is "opt"; it must be an absolute path on the target.',
    ]
    assert sorted(errors)[3:] == [f"webui_service_environment is encrypted, and {reason}. {advice}"]


def test_what_is_made_of_facts_waits_for_them():
    values = {
        "sdops_home": "opt",
        "sdops_data_dir": "{{ ansible_facts['user_dir'] }}/data\n",
        "sdops_webui_dir": "{{ sdops_data_dir | trim }}/webui",
        "sdops_cache_dir": "{{ ansible_env.HOME }}/cache",
    }
    first = check_variables([], engine(**values), {}, has_facts=False)
    (error,), stripped = first.errors, first.stripped
    assert error.startswith("sdops_home is") and stripped == {}
    # "vars" in the name of a lookup is not the variable that holds all others, facts too
    lookup = {
        "sdops_home": "{{ lookup('ansible.builtin.vars', 'home') }}",
        "home": "opt",
        "vars": {"a": "{{ ansible_facts }}"},
    }
    assert len(check_variables([], engine(**lookup), {}, has_facts=False).errors) == 1
    # what was right before the facts is not worked out again, but counts in rules for several variables
    right = {"sdops_proxy_http_port": 1, "sdops_proxy_socks_port": 1, "sdops_home": "never checked"}
    again = check_variables([], engine(sdops_home="{{ no_such }}", sdops_data_dir="/data"), {}, known=right)
    assert len(again.errors) == 1 and "sdops_proxy" in again.errors[0]
    assert again.values == {**right, "sdops_data_dir": "/data"}
    known = {"ansible_facts": {"user_dir": "root"}, "ansible_env": {"HOME": "/root"}}
    errors, stripped = check([], **{**values, "sdops_home": "/opt/sdops"}, **known)
    assert [why.split()[0] for why in errors] == ["sdops_data_dir"] and stripped == {"sdops_data_dir": "root/data"}


def test_rule_for_variables_of_several_roles():
    errors, _ = check(["extensions"], extensions_list=["adetailor"], sdops_github="https://github.com")
    assert len(errors) == 1 and "Did you mean adetailer" in errors[0]
    assert check([], sdops_proxy_http_port=1, sdops_proxy_socks_port="1")[0]


def test_model_alone_is_no_error_and_is_told_with_others():
    models = ["sdxl-base-1.0", "nope", {"kind": "vae"}]
    found = check_variables(["model_fetch"], engine(model_fetch_models=models), {})
    assert found.errors == []
    lines = found.message(["Something else."]).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["Something", "model_fetch_models:", "model_fetch_models:"]
    assert (
        "no model 'nope'" in lines[1]
        and "Entry 3 of model_fetch_models (with the fields kind) has no source" in lines[2]
    )
    # all of them are wrong: told once
    found = check_variables(["model_fetch"], engine(model_fetch_models=models[1:]), {})
    assert len(found.errors) == 2 and found.message(found.errors).splitlines() == found.errors


def test_white_space_is_stripped_before_values_are_derived():
    values = {"sdops_home": "/opt/sdops\n", "sdops_data_dir": "{{ sdops_home }}/data", "sdops_no_proxy": [" a"]}
    assert check([], **values) == ([], {"sdops_home": "/opt/sdops", "sdops_no_proxy": ["a"]})


def test_white_space_that_nothing_can_strip_is_a_mistake():
    values = {"sdops_home": "/opt/sdops\n", "sdops_pip_index_url": "https://packages.invalid/simple\n"}
    errors, stripped = check([], fixed=values, **values)
    assert len(errors) == 1 and errors[0].startswith("sdops_home has spaces or a line break") and stripped == {}


# --- the host --------------------------------------------------------------------------------------------------------
RULES = {
    "__base_errors": [
        {"when": "port in taken", "msg": "Port {{ port }} is taken by {{ taken[port] }}."},
        {"when": ["wanted", "missing is not defined"], "msg": "Two conditions."},
        {"when": "{'a': 1}.b.c", "msg": "Never shown."},
    ],
    "__base_warnings": [{"when": True, "msg": "Take care.\nOf both."}],
    "__extensions_errors": [{"when": "not wanted", "msg": "{{ undefined_as_not_needed }}"}],
}


def test_rules_that_apply_are_reported_in_order():
    results = evaluate_rules(
        ["base", "extensions", "model_fetch"], engine(port=6006, taken={6006: "x\x1b[2J"}, wanted=True, **RULES)
    )
    assert results.warnings == ["Take care.", "Of both."]
    assert results.errors[:2] == ["Port 6006 is taken by x?[2J.", "Two conditions."]
    assert len(results.errors) == 3 and "has no attribute 'b'" in results.errors[2]


def test_rule_whose_message_fails_is_a_mistake():
    results = evaluate_rules(["extensions"], engine(wanted=False, **RULES))
    assert len(results.errors) == 1 and "undefined_as_not_needed" in results.errors[0]


def test_reason_of_a_filter_that_rejects_its_input_is_the_mistake():
    rule = {"when": "nothing | mandatory('Nothing has kernels for 3.5') | length == 0", "msg": "No build."}
    (error,) = evaluate_rules(["sd_webui"], engine(__sd_webui_errors=[rule])).errors
    assert "3.5" in error and "No build" not in error


def test_host_is_asked_once_for_all_roles():
    asked = merge_host_requests(
        ["sdops", "xray_proxy", "webui_service", "base"],
        engine(
            home="/opt",
            __sdops_host_state={"toolbox": "{{ home }}/toolbox", "pip_index": False},
            __xray_proxy_host_state={"ports": [1, 2], "supervisor_dir": "{{ home }}/s"},
            __webui_service_host_state={"ports": "{{ [2, 3] }}", "supervisor_dir": "{{ home }}/s"},
        ),
    )
    assert asked == {"toolbox": "/opt/toolbox", "pip_index": False, "ports": [1, 2, 3], "supervisor_dir": "/opt/s"}


@pytest.mark.parametrize("former", [None, "from the host", {}])
def test_first_state_of_a_host(former):
    assert merge_host_states(former, {"python": "/p", "ports": {"1": []}}) == {"python": "/p", "ports": {"1": []}}


def test_later_state_of_a_host_replaces_what_it_has():
    former = {"python": "/p", "ports": {"1": [{"pid": 5}], "2": []}, "unwritable": ["/x"], "content": {"/f": "old"}}
    later = {"ports": {"1": [], "3": []}, "content": {"/f": None}, "unwritable": []}
    assert merge_host_states(former, later) == {
        "python": "/p",
        "ports": {"1": [], "2": [], "3": []},
        "unwritable": [],
        "content": {"/f": None},
    }


# --- ansible-core ----------------------------------------------------------------------------------------------------
def test_old_core_is_told_with_the_command_for_a_newer_one():
    oldest = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"].removeprefix(">=")
    assert old_core_error(oldest) == "" == old_core_error("2.21.0rc1") == old_core_error("3.0.0")
    error = old_core_error("2.18.19")
    assert "2.18.19" in error and f"{sys.executable} -m pip install --upgrade 'ansible-core>=2.19'" in error

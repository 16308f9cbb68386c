"""Names of variables that nobody reads, and of tags that select nothing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.sdops.webui.plugins.plugin_utils.role_options import ROLES, derived_variables, role_options
from ansible_collections.sdops.webui.plugins.plugin_utils.variable_names import (
    given_variables,
    unknown_tag_errors,
    unknown_variable_errors,
)

KNOWN = role_options()
ROLE_NAMES = [path.name for path in ROLES.iterdir()]
TAGS = ["base", "xray_proxy", "sd_webui", "model_fetch", "webui_service"]


def errors(**variables: Any) -> list[str]:
    return unknown_variable_errors(variables, KNOWN, derived_variables(), ROLE_NAMES)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("model_fetch_model", "model_fetch_models"),
        ("extension_list", "extensions_list"),
        ("xray_server", "xray_proxy_server"),
        ("webui_port", "webui_service_port"),
        ("sd_webui_port", "webui_service_port"),
        ("sdops_models", "model_fetch_models"),
        ("modelfetch_models", "model_fetch_models"),
        ("sdops_datadir", "sdops_data_dir"),
        ("sdops_extensions", "extensions_list"),
        ("sdops_xray_link", "xray_proxy_link"),
        ("sdops_webui_port", "webui_service_port"),
        ("model_fetch_lora", "model_fetch_models"),
        ("WEBUI_SERVICE_PORT", "webui_service_port"),
        ("sdops-data-dir", "sdops_data_dir"),
    ],
)
def test_misspelled_name_is_told_with_the_right_one(name, meant):
    (error,) = errors(**{name: "hunter2"})
    assert error.startswith(f"{name} is no variable of this collection") and f"Did you mean {meant}" in error
    assert "hunter2" not in error


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("webui_service", {"port": 7861, "hunter2": 1}, "Write webui_service_port as a variable"),
        ("sdops", {"network": "direct", "device": "cpu"}, "Write sdops_network and sdops_device as variables"),
        ("model_fetch", ["hunter2"], "Write model_fetch_models as"),
        ("model_fetch", {"models": ["hunter2"]}, "Write model_fetch_models as"),
        ("extensions", ["adetailer", "hunter2"], "Write extensions_list as"),
        ("extensions", [{"name": "adetailer"}], "Write extensions_list as"),
    ],
)
def test_options_below_the_name_of_their_role(name, value, meant):
    (error,) = errors(**{name: value})
    assert error.startswith(f"{name} is the name of a role") and meant in error and "hunter2" not in error
    assert errors(**{name: value}, sdops_extra_variables=[name]) == []


def test_option_without_its_role():
    (error,) = errors(civitai_token="hunter2")
    assert error.startswith("civitai_token is not read") and "Write model_fetch_civitai_token" in error
    assert "hunter2" not in error
    # of something else, where the role has its own
    assert errors(huggingface_token="x", model_fetch_huggingface_token="y") == []


@pytest.mark.parametrize(
    ("given", "named"), [("webui_service_port 7861", "-e webui_service_port ..."), ("hunter2-", "A part of -e")]
)
def test_extra_variable_without_equals_sign(given, named):
    (error,) = errors(_raw_params=given)
    assert error.startswith(f"{named} has no =") and "hunter2" not in error and "7861" not in error


def test_unknown_name_with_the_prefix_of_a_role():
    (error,) = errors(base_image="x")
    assert error.startswith("base_image is no variable") and "Did you mean" not in error


def test_derived_variable_cannot_be_set():
    (error,) = errors(sdops_toolbox="/opt/toolbox")
    assert error == "sdops_toolbox is worked out from other variables and cannot be set. Take it away."


@pytest.mark.parametrize(
    "variables",
    [
        dict.fromkeys(KNOWN, ""),
        {"ansible_host": "x", "vault_civitai_token": "x", "data_dir": "/x", "port": 1, "proxy_port": 2, "__sdops_x": 1},
        {"base_image": "x", "base_packages": [], "sdops_extra_variables": ["base_*"]},
        # of other roles
        {
            "extensions": ["pg_trgm", "hstore"],
            "conda_env": "science",
            "base": {"packages": []},
            "PORT": 1,
            "hf_token": "x",
        },
        {"extensions": {"pg_trgm": {}}, "sdops": {"team": "x"}, "conda_env": {"file": "x.yml"}, "MODELS": []},
        # a template reads it, wherever it stands
        {"sdops_mirror": "x", "webui_port": 1, "mine": {"a": ["{{ sdops_mirror }}", "{{ webui_port + 1 }}"]}},
    ],
)
def test_names_of_others_are_left_alone(variables):
    assert errors(**variables) == []


@pytest.mark.parametrize("extra", [5, True, {"base_image": 1}, None])
def test_list_of_another_type_is_left_to_the_check_of_its_value(extra):
    assert len(errors(base_image="x", sdops_extra_variables=extra)) == 1


def test_encrypted_values_of_others_are_not_opened(sealed):
    assert len(errors(base_image="x", theirs=sealed, more=[sealed])) == 1


def test_own_template_is_no_reader():
    assert len(errors(model_fetch_model="{{ model_fetch_model | default([]) }}")) == 1


def test_only_the_shared_role_has_derived_variables():
    public = {
        path.parents[1].name: [name for name in yaml.safe_load(path.read_text()) if not name.startswith("_")]
        for path in ROLES.glob("*/vars/main.yml")
    }
    assert set(public.pop("sdops")) == derived_variables() != set()
    assert not any(public.values()), public


def test_tags():
    assert unknown_tag_errors(["all", "base"], ["webui_service", "never"], TAGS) == []
    # molecule skips its own
    assert unknown_tag_errors(["all"], ["molecule-notest", "notest"], TAGS) == []
    found = unknown_tag_errors(["models", "base"], ["webui-servic\x1b[2J"], TAGS)
    assert found == [
        "--tags models selects no task of this playbook. Did you mean model_fetch? It has the tags base, xray_proxy, sd_webui, "
        "model_fetch, webui_service.",
        "--skip-tags webui-servic?[2J selects no task of this playbook. Did you mean sd_webui or webui_service? It has the tags base, "
        "xray_proxy, sd_webui, model_fetch, webui_service.",
    ]


def test_variables_that_are_set_somewhere():
    sources = [{"sd_webui_version": "dev", "mine": 1}, {}, {"sdops_data_dir": "/d", "sd_webui_version": "dev"}]
    assert given_variables(KNOWN, sources) == ["sd_webui_version", "sdops_data_dir"]
    assert given_variables(KNOWN, [{"__sdops_x": 1, "ansible_host": "x"}]) == []

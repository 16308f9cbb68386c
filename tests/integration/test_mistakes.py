"""What users get wrong, each told before the first change: what it is about, the cause, and the next step, in the roles' words.

Mistakes that one message can tell together share a run, because a run takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import resource
import socket
from typing import Any, NamedTuple

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

MAX_SECONDS = 20.0  # of CPU, for a whole run: how long that takes depends on what else the machine does
KEY = "A" * 43
LINK = f"vless://11111111-2222-3333-4444-555555555555@xray.example.com?security=reality&sni=www.example.com&pbk={KEY}"


class Mistake(NamedTuple):
    """Variables, and three parts of the one sentence about them: its object, the cause, and what to do."""

    variables: dict[str, Any]
    about: str
    cause: str
    advice: str


def model(entry: Any, about: str, cause: str, advice: str) -> Mistake:
    return Mistake({"model_fetch_models": [entry]}, about, cause, advice)


# found on the controller, in one run
VARIABLES = [
    Mistake({"model_fetch_model": []}, "model_fetch_model ", "no variable", "Did you mean model_fetch_models?"),
    Mistake({"extension_list": ["adetailer"]}, "extension_list ", "nothing reads it", "Did you mean extensions_list?"),
    Mistake({"xray_server": "x"}, "xray_server ", "no variable", "Did you mean xray_proxy_server?"),
    Mistake({"webui_port": 1}, "webui_port ", "no variable", "Did you mean webui_service_port?"),
    Mistake({"sdops_toolbox": "/opt/x"}, "sdops_toolbox ", "worked out from other variables", "Take it away"),
    Mistake({"webui_service_port": 70000}, "webui_service_port is", "70000", "must be a port number"),
    Mistake({"sdops_network": "carrier-pigeon"}, "sdops_network", '"carrier-pigeon"', "it must be "),
    Mistake({"sdops_device": "tpu"}, "sdops_device", '"tpu"', "it must be "),
    Mistake({"conda_env_python": "3.10"}, "conda_env_python", '"3.10"', "exact version such as 3.10.6"),
    Mistake({"sd_webui_commit": "master"}, "sd_webui_commit", '"master"', "must be a full commit id"),
    Mistake({"sd_webui_version": "1.11.0"}, "sd_webui_version", '"1.11.0"', "known are"),
    Mistake(
        {"huggingface_token": "hunter2"}, "huggingface_token ", "name of its role", "model_fetch_huggingface_token"
    ),
    Mistake({"webui_service": {"port": 1}}, "webui_service is", "nothing reads it", "Write webui_service_port"),
    Mistake({"sdops_mirrors": {"gitub": []}}, "sdops_mirrors", "unknown service", "did you mean github?"),
    Mistake({"sdops_extra_variables": 5}, "sdops_extra_variables is 5", "it must be", "a list"),
    Mistake({"extensions_list": ["adetailor"]}, "extensions_list", "adetailor", "Did you mean adetailer"),
    Mistake({"extensions_list": [{"name": "roop", "keep": 5}]}, "extension roop", "keep is 5", "must be a list"),
    Mistake(
        {"extensions_list": [{"name": "roop", "arguments": ["--api-auth=a:hunter2"]}]},
        "The extension roop: arguments",
        "can be read by anyone",
        "take an SSH tunnel",
    ),
    Mistake(
        {"extensions_list": [{"name": "roop", "models": ["nope"]}]},
        "extension sd-webui-roop",
        "'nope'",
        "A model is one of",
    ),
    Mistake(
        {"sd_webui_constraints": "numpy==1.26.2\nhttpx==0.24.1"},
        "sd_webui_constraints",
        "must be a list",
        "write it as",
    ),
    Mistake({"sdops_home": "/opt/with space"}, "sdops_home", '"/opt/with space"', "may hold letters, digits"),
    Mistake({"sdops_cache_dir": "{{ no_such }}/cache"}, "sdops_cache_dir", "'no_such' is undefined", "Correct its tem"),
    Mistake({"xformers_build_version": "newest"}, "xformers_build_version", '"newest"', "must be auto, none, or"),
    Mistake(
        {"webui_service_extra_args": ["--api-auth=a:hunter2"]},
        "webui_service_extra_args",
        "can be read by anyone",
        "take an SSH tunnel",
    ),
    Mistake({"sdops_gpu_capabilities": ["RTX 3090"]}, "sdops_gpu_capabilities", "RTX 3090", 'such as "8.6"'),
    Mistake({"sdops_no_proxy": "a.example.com,b.example.com"}, "sdops_no_proxy", "must be a list", "write it as"),
    Mistake(
        {"xray_proxy_state": "present", "xray_proxy_public_key": "hunter2="},
        "xray_proxy_public_key",
        "must be a REALITY public",
        "43 characters",
    ),
    Mistake({"xray_proxy_short_id": "abc"}, "xray_proxy_short_id", "even number", "must be"),
    Mistake({"xray_proxy_link": LINK + "&type=ws"}, "The share link", "type=ws", "xray_proxy_config"),
    Mistake({"model_fetch_civitai_token": '"hunter2"'}, "model_fetch_civitai_token", "without quotes", "copy it again"),
    Mistake({"sdops_github": "https://github.com\n"}, "sdops_github", "line break", "take them away"),
    Mistake(
        {"conda_env_installer_url": "https://conda.invalid/x.sh"},
        "conda_env_installer_url",
        "conda_env_installer_sha256 is not",
        "is needed",
    ),
    Mistake(
        {"base_required_space": {"enviroment": "9 TB"}}, "base_required_space", '"enviroment"', "did you mean envir"
    ),
    Mistake({"sdops_webui_data_dir": "/etc"}, "sdops_webui_data_dir", '"/etc"', "choose one of its own"),
    Mistake({"sdops_artifacts_dir": ""}, "sdops_artifacts_dir", 'is ""', "take the variable away"),
    Mistake({"sdops_mirrors": {"pypi": ["ftp://x"]}}, "sdops_mirrors", '"ftp://x"', "must be a URL with https://"),
    Mistake({"webui_service_environment": {"B C": "hunter2"}}, "webui_service_environment", '"B C"', "use letters"),
    model("sd15-pruned-emaonly", "sd15-pruned-emaonly", "has no model", "Did you mean sd-1.5-pruned-emaonly"),
    model(
        {"source": "https://models.invalid/x.safetensors", "kind": "loras"},
        "https://models.invalid/x.safetensors",
        'unknown kind "loras"',
        "there are",
    ),
    model(
        {"source": "https://models.invalid/y.safetensors", "sha265": "0"},
        "https://models.invalid/y.safetensors",
        "unknown field sha265",
        "there are",
    ),
    model(
        {"source": "https://models.invalid/z.ckpt", "kind": "checkpoint"},
        "https://models.invalid/z.ckpt",
        "is a pickle",
        "set model_fetch_allow_pickle to true",
    ),
    model(
        "https://civitai.com/api/download/models/1?token=hunter2",
        "civitai.com/api/download/models/1",
        "has a token in it",
        "Use model_fetch_civitai_token",
    ),
    model("hf://owner/repo", "hf://owner/repo", "is not of the form", "hf://OWNER/REPO/PATH@REVISION"),
]
# not behind -e
INVENTORY = Mistake({"sd_webui_comit": "x"}, "sd_webui_comit ", "no variable", "Did you mean sd_webui_commit?")
ENCRYPTED = Mistake({}, "sdops_pip_index_url is encrypted", "no vault password was given", "Add --ask-vault-pass")
WITHOUT_EQUALS = Mistake({}, "-e webui_service_user ...", "has no =", "Write -e NAME=VALUE")
GOOD_MODEL = {"source": "hf://a/b/c.safetensors@main", "kind": "vae"}  # the others are told with the rest nevertheless
TAG = Mistake({}, "--tags models", "selects no task", "Did you mean model_fetch?")


def merged(mistakes: list[Mistake]) -> dict[str, Any]:
    """The variables of all mistakes; lists and mappings of one name are joined."""
    found: dict[str, Any] = {}
    for mistake in mistakes:
        for name, value in mistake.variables.items():
            if name in found:
                value = {**found[name], **value} if isinstance(value, dict) else [*found[name], *value]
            found[name] = value
    return found


def assert_told(output: str, mistakes: list[Mistake]) -> None:
    """Each in one line, in full, and nothing in the words of Python."""
    lines = [line.strip() for line in output.splitlines()]
    untold = [mistake for mistake in mistakes if not any(all(part in line for part in mistake[1:]) for line in lines)]
    assert untold == [], f"{untold}\n{output}"
    assert not re.search(r"Traceback|<class |hunter2", output), output


def run(site: Any, *arguments: str, **variables: Any) -> str:
    """What a run says that stops before the first change. The variables are given as an inventory does, line breaks and all."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = site.play(*arguments, "-e" + json.dumps(variables))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout.count("fatal: ") == 1 and "changed=0" in result.stdout, result.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MAX_SECONDS
    return str(result.stdout + result.stderr)


def test_mistakes_in_variables_are_told_together(site):
    group = site.base / "group_vars" / "webui.yml"
    group.parent.mkdir()
    secret = VaultSecret(b"right")
    text = VaultLib([("default", secret)]).encrypt("hunter2", secret=secret).decode()
    encrypted = f'"sdops_pip_index_url": !vault {json.dumps(text)}'
    group.write_text(f"{json.dumps(INVENTORY.variables)[:-1]}, {encrypted}}}")
    given = merged(VARIABLES)
    given["model_fetch_models"].append(GOOD_MODEL)
    output = run(site, "--tags", "models", "-e", "webui_service_user hunter2", **given)
    assert_told(output, [*VARIABLES, INVENTORY, ENCRYPTED, WITHOUT_EQUALS, TAG])
    assert site.files() == ["group_vars", "group_vars/webui.yml"]


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_what_the_host_cannot_do_is_told_together(site, taken_port):
    (site.base / "autodl-tmp").mkdir()
    given = {
        "sdops_device": "cpu",
        "sdops_data_dir": f"{site.base}/autodl-tpm",
        "webui_service_port": taken_port,
        "base_required_space": {"environment": "900 TB"},
        "model_fetch_models": [{"source": "hf://a/b/c.safetensors@main", "kind": "vae"}, "no-such-model"],
    }
    told = [
        Mistake({}, f"Port {taken_port} of box", f"pid {os.getpid()}", "set webui_service_port to another"),
        Mistake({}, f"The disk of {site.base}/autodl-tpm", "the environment 818.5 TiB", "set sdops_data_dir"),
        Mistake({}, "There is no checkpoint in", "model_fetch_models has none", "Add one to model_fetch_models"),
        Mistake({}, "no-such-model", "has no model", "The other models are installed, and then the run fails."),
    ]
    if os.stat(site.base).st_dev == os.stat("/").st_dev:
        told.append(Mistake({}, "sdops_data_dir is", "on the system disk", f"There is {site.base}/autodl-tmp ("))
    assert_told(run(site, **given), told)
    assert site.files() == ["autodl-tmp"]


def test_card_that_is_missing_is_told(site):
    output = run(site, sdops_device="cuda", sdops_nvidia_smi="/nowhere/nvidia-smi")
    assert_told(output, [Mistake({}, "sdops_device is cuda", "box has no GPU that works", "Set it to auto")])
    assert site.files() == []

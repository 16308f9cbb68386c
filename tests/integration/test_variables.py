"""A wrong variable fails before anything changes, and the message names it."""

from __future__ import annotations

import json

import pytest
from helpers.paths import ROOT

from lab.servers.build import models

GOOD_PROXY = {
    "sdops_network": "xray",
    "xray_proxy_server": "xray.example.com",
    "xray_proxy_server_name": "www.example.com",
    "xray_proxy_uuid": "11111111-2222-3333-4444-555555555555",
    "xray_proxy_public_key": "A" * 43,
}

LINK = (
    f"vless://{GOOD_PROXY['xray_proxy_uuid']}@xray.example.com?security=reality&sni=www.example.com"
    f"&pbk={GOOD_PROXY['xray_proxy_public_key']}"
)
WHOLE = {
    "inbounds": [{"listen": "127.0.0.1", "port": 10809, "protocol": "http"}],
    "outbounds": [{"protocol": "freedom"}],
}


# each is told, and none hides another
WRONG = [
    ({"webui_service_port": "six"}, "webui_service_port"),
    ({"webui_service_port": "70000"}, "webui_service_port"),
    ({"sdops_network": "carrier-pigeon"}, "sdops_network"),
    ({"model_fetch_verify": "sometimes"}, "model_fetch_verify"),
    ({"conda_env_python": "3.10"}, "conda_env_python"),
    ({"sd_webui_commit": "master"}, "sd_webui_commit"),
    ({"sd_webui_version": "1.11.0"}, "sd_webui_version"),
    ({"sdops_device": "tpu"}, "sdops_device"),
    ({"sdops_gpu_capabilities": ["RTX 3090"]}, "sdops_gpu_capabilities"),
    ({"xformers_build_version": "newest"}, "xformers_build_version"),
    (
        {
            **dict.fromkeys(["xray_proxy_server", "xray_proxy_link"], ""),
            "sdops_network": "xray",
            "xray_proxy_config": {},
        },
        "xray_proxy_server is empty",
    ),
    ({**GOOD_PROXY, "xray_proxy_uuid": "neither-a-UUID-nor-as-short-as-30"}, "xray_proxy_uuid"),
    ({**GOOD_PROXY, "xray_proxy_public_key": "AAAA="}, "xray_proxy_public_key"),
    ({**GOOD_PROXY, "xray_proxy_short_id": "abc"}, "xray_proxy_short_id"),
    ({**GOOD_PROXY, "xray_proxy_short_id": 12345678}, "xray_proxy_short_id is not a text"),
    ({**GOOD_PROXY, "xray_proxy_verify_urls": []}, "xray_proxy_verify_urls"),
    ({**GOOD_PROXY, "xray_proxy_verify_retries": -1}, "xray_proxy_verify_retries"),
    ({**GOOD_PROXY, "xray_proxy_mldsa65_verify": "AAAA"}, "xray_proxy_mldsa65_verify"),
    ({"sdops_network": "xray", "xray_proxy_link": LINK + "&type=ws"}, "type=ws"),
    ({"sdops_network": "xray", "xray_proxy_link": LINK + "&sid=abc"}, "parameter sid"),
    ({"sdops_network": "xray", "xray_proxy_config": "{}"}, "xray_proxy_config"),
    ({"sdops_data_dir": "relative/path"}, "sdops_data_dir"),
    ({"sdops_home": "/opt/with space"}, "sdops_home"),
    ({"sdops_home": "/" + "h" * 80}, "sdops_home"),
    ({"sdops_nvidia_smi": "nvidia-smi\n"}, "sdops_nvidia_smi"),
    ({"sdops_no_proxy": "a.example.com,b.example.com"}, "sdops_no_proxy"),
    ({"sd_webui_commit": "a" * 40 + "\n"}, "sd_webui_commit"),
    ({**GOOD_PROXY, "xray_proxy_public_key": "A" * 43 + "\nA"}, "xray_proxy_public_key"),
    ({"sdops_github": "https://github.com\n"}, "sdops_github has spaces or a line break around its value"),
    ({"extensions_list": "adetailer"}, 'write it as ["adetailer"]'),
    ({"extensions_list": ["adetailor"]}, "Did you mean adetailer"),
    ({"sd_webui_constraints": "numpy==1.26.2\nhttpx==0.24.1"}, 'write it as ["numpy==1.26.2", "httpx==0.24.1"]'),
    ({"sdops_cache_dir": "{{ no_such_variable }}/cache"}, "sdops_cache_dir cannot be worked out"),
    ({**GOOD_PROXY, "xray_proxy_server_name": "www.example.com:443"}, "xray_proxy_server_name must be a host"),
    ({**GOOD_PROXY, "xray_proxy_server": "https://xray.example.com"}, "xray_proxy_server must be a host"),
    ({**GOOD_PROXY, "xray_proxy_version": "latest"}, "xray_proxy_version"),
    ({"webui_service_extra_args": ["--api-auth=a:b"]}, "webui_service_extra_args must not hold"),
    ({"webui_service_extra_args": ["--medvram", "--api-aut", "a:hunter2"]}, "webui_service_extra_args must not hold"),
    ({"webui_service_extra_args": ["--gradio-au=a:hunter2"]}, "webui_service_extra_args must not hold"),
    ({"webui_service_extra_args": ["--ngrok", "hunter2"]}, "webui_service_extra_args must not hold"),
    ({"webui_service_extra_args": ["--nowebui"]}, "webui_service_extra_args must not hold"),
    ({"webui_service_extra_args": ["--ui-settings-file", "x"]}, "webui_service_extra_args must not hold"),
    (
        {"webui_service_environment": {"COMMANDLINE_ARGS": "--api-auth a:hunter2"}},
        "webui_service_environment must not hold",
    ),
    ({"model_fetch_models": [{"kind": "vae"}]}, "has no source"),
    ({"sdops_network": "xray", "xray_proxy_link": LINK, "xray_proxy_config": WHOLE}, "xray_proxy_config replaces"),
]


def together(cases):
    """As few runs as there can be: what contradicts no other case of a run goes into it. A run takes ten seconds."""
    runs: list[tuple[dict, list]] = []
    for variables, named in cases:
        for given, all_named in runs:
            if all(given.get(name, value) == value for name, value in variables.items()):
                given.update(variables)
                all_named.append(named)
                break
        else:
            runs.append((dict(variables), [named]))
    return runs


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        *together(WRONG),
        # what only the host can tell comes after the variables
        ({"sdops_gpu_capabilities": ["3.5"]}, ["3.5"]),
        ({"sdops_device": "cuda"}, ["sdops_device"]),
    ],
)
def test_wrong_variables_are_named_before_anything_changes(site, variables, named):
    result = site.play("-e" + json.dumps(variables))  # as an inventory gives them: NAME=VALUE would end at a space
    assert result.returncode != 0
    output = " ".join((result.stdout + result.stderr).split())
    assert [each for each in named if each not in output] == [], result.stdout
    assert site.files() == []
    assert "changed=0" in result.stdout
    for secret in (GOOD_PROXY["xray_proxy_uuid"], GOOD_PROXY["xray_proxy_public_key"], "hunter2"):
        assert secret not in output


BAD_MODELS = [  # and what is said of it
    ({"kind": "vae"}, "of model_fetch_models (with the fields kind) has no source."),
    ("", "has no source"),
    (7, "of model_fetch_models (7) is neither"),
    (["https://models.invalid/x?token=hunter22"], "of model_fetch_models (a list) is neither"),
    ("hf://owner/repo", "is not of the form hf://OWNER/REPO/PATH@REVISION"),
    ("civitai://newest?token=hunter22", "is not of the form civitai://VERSION_ID"),
    (
        {"source": "https://models.invalid/x.pt?token=hunter22", "kind": "loras"},
        "https://models.invalid/x.pt?... has the unknown kind",
    ),
    (
        {"source": "https://models.invalid/y.pt", "config": ["https://a.invalid/?token=hunter22"]},
        "config must be a text",
    ),
    ({"source": "file:///x.safetensors", "name": "n" * 256}, "name has 256 bytes"),
    ("no-such-model", "no-such-model"),
]


def test_models_that_cannot_be_understood_do_not_stop_the_others(site):
    """They are named before the first change and at the end, and the others are there."""
    entries = [entry for entry, _ in BAD_MODELS]
    for name, place in (("first", 0), ("second", 4), ("third", len(entries) + 2)):
        source = site.base / "mine" / f"{name}.safetensors"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(models.safetensors_bytes(name, models.checkpoint_tensors(1, "F16")))
        entries.insert(place, {"source": f"file://{source}", "kind": "checkpoint"})
    webui = site.base / "webui"
    (webui / "models").mkdir(parents=True)
    play = site.base / "play.yml"
    play.write_text("- hosts: webui\n  gather_facts: false\n  roles: [sdops.webui.model_fetch]\n")
    result = site.play(str(play), "-e" + json.dumps({"model_fetch_models": entries}), sdops_webui_dir=str(webui))
    assert result.returncode != 0, result.stdout
    placed = sorted(path.name for path in (webui / "models/Stable-diffusion").iterdir())
    assert placed == ["first.safetensors", "second.safetensors", "third.safetensors"], result.stdout
    output = " ".join(result.stdout.split())  # Ansible folds long lines
    before, after = output.split("TASK [sdops.webui.model_fetch : Install the models]", 1)
    for _, named in BAD_MODELS:
        assert named in before and named in after, (named, result.stdout)
    assert "The other models are installed, and then the run fails." in before, result.stdout
    assert "10 of 13 files failed." in after, result.stdout
    assert "hunter22" not in result.stdout + result.stderr


# all of it is right: plans of the whole site for a bare host
GOOD = {
    "a link, and arguments that only begin like refused ones": {
        "xray_proxy_link": LINK,
        "webui_service_xformers": True,
        "webui_service_extra_args": [
            "--api",
            "--no-half",
            "--no-hashing",
            "--gradio-allowed-path",
            "x",
            "--precision",
            "full",
        ],
    },
    "a whole config": {"xray_proxy_config": WHOLE},
    "fields, models, extensions and settings": {
        **GOOD_PROXY,
        "model_fetch_models": [{"source": "hf://a/b/c.safetensors@main", "kind": "checkpoint"}],
        "extensions_list": ["roop", {"name": "x", "repo": "https://git.invalid/x.git", "commit": "a" * 40}],
        "webui_service_options": {"CLIP_stop_at_last_layers": 2},
    },
}


@pytest.mark.parametrize("case", GOOD)
def test_check_mode_on_a_bare_host_finishes_and_touches_nothing(site, case):
    result = site.play("--check", "--diff", "-e" + json.dumps(GOOD[case]), sdops_network="xray")
    assert result.returncode == 0, result.stdout + result.stderr
    assert site.files() == []
    assert GOOD_PROXY["xray_proxy_uuid"] not in result.stdout


def test_all_mistakes_of_all_roles_are_reported_at_once(site):
    wrong = {
        "sdops_data_dir": "data",
        "sdops_no_proxy": "a,b",
        "sdops_boot_hook": "/etc/boot\nreboot",
        "sdops_proxy_http_port": 0,
        "sdops_device": "tpu",
        "webui_service_port": "six",
        "webui_service_extra_args": ["--ngrok", "hunter2"],
        "conda_env_python": "3.10",
        "sd_webui_commit": "master",
        "sd_webui_version": "1.11.0",
        "xformers_build_version": "newest",
        "extensions_list": "adetailer",
        "model_fetch_models": [{"kind": "vae"}],
        "xray_proxy_link": LINK + "&sid=abc",
    }
    result = site.play("-e" + json.dumps(wrong), sdops_network="xray")
    assert result.returncode != 0
    output = result.stdout[result.stdout.index("Check the variables") :]
    assert all(name in output for name in wrong), output
    # what is made of a wrong value is no mistake of its own
    assert "sdops_webui_dir" not in output and "xray_proxy_server" not in output, output
    assert "hunter2" not in output and GOOD_PROXY["xray_proxy_uuid"] not in output
    assert site.files() == []


STRIPPED = """
- hosts: webui
  gather_facts: false
  pre_tasks:
    - ansible.builtin.include_role: {name: sdops.webui.sdops, tasks_from: preflight, public: true}
    - ansible.builtin.include_role: {name: sdops.webui.xray_proxy, tasks_from: preflight, public: true}
  tasks:
    # into a file: core 2.22 masks secrets in what it prints
    - ansible.builtin.copy:
        content: "{{ [sdops_webui_dir, sdops_pip_index_url, lookup('ansible.builtin.template', config) | from_json] | to_json }}"
        dest: BASE/values.json
        mode: "0600"
      vars:
        config: ROOT/roles/xray_proxy/templates/config.json.j2
"""


@pytest.mark.parametrize("by", ["inventory", "-e"])
def test_what_a_pipe_leaves_around_a_value_does_not_count(site, by):
    """``openssl ... | ansible-vault encrypt_string``: the line break is in the secret."""
    play = site.base / "stripped.yml"
    play.write_text(STRIPPED.replace("ROOT", str(ROOT)).replace("BASE", str(site.base)))
    given = {name: f"{value}\n" for name, value in GOOD_PROXY.items() if name.startswith("xray_")}
    given["xray_proxy_server_name"] = " bücher.example "
    given["sdops_pip_index_url"] = "https://packages.invalid/simple\n"
    if by == "inventory":
        group = site.base / "group_vars" / "webui.yml"
        group.parent.mkdir()
        group.write_text(json.dumps({**given, "sdops_webui_dir": f"{site.base}/webui \n", "sdops_network": "xray"}))
        result = site.play(str(play))
    else:
        result = site.play(str(play), "-e" + json.dumps(given), sdops_network="xray")
    assert result.returncode == 0, result.stdout + result.stderr
    webui_dir, index, config = json.loads((site.base / "values.json").read_text())
    if by == "inventory":
        assert (webui_dir, index.strip()) == (f"{site.base}/webui", "https://packages.invalid/simple")
    server = config["outbounds"][0]
    assert server["settings"]["vnext"][0]["address"] == GOOD_PROXY["xray_proxy_server"]
    assert server["settings"]["vnext"][0]["users"][0]["id"] == GOOD_PROXY["xray_proxy_uuid"]
    assert server["streamSettings"]["realitySettings"]["serverName"] == "xn--bcher-kva.example"
    assert server["streamSettings"]["realitySettings"]["publicKey"] == GOOD_PROXY["xray_proxy_public_key"]

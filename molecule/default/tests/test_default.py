"""What the site leaves on a target, seen from outside after a kill, and a power cycle."""

from __future__ import annotations

import json
import re

import pytest

HOME = "/opt/sdops"
WEBUI = "/root/autodl-tmp/stable-diffusion-webui"
MODELS = {
    f"{WEBUI}/models/Stable-diffusion/v1-5-pruned-emaonly.safetensors",
    f"{WEBUI}/models/Stable-diffusion/chilloutmix_NiPrunedFp32Fix.safetensors",
    f"{WEBUI}/models/Lora/FilmVelvia3.safetensors",
    f"{WEBUI}/embeddings/bad_pictures.pt",
    f"{WEBUI}/models/VAE/vae-ft-mse-840000-ema-pruned.safetensors",
}


def test_both_programs_are_restarted(programs, ready):
    states = dict(line.split()[:2] for line in programs().splitlines())
    assert states == {"xray": "RUNNING", "webui": "RUNNING"}


@pytest.mark.parametrize("path", sorted(MODELS))
def test_models_are_in_place(host, path):
    assert host.file(path).size > 1000


def test_webui_lists_the_models(api, ready):
    names = {m["model_name"] for m in json.loads(api("/sdapi/v1/sd-models")[1])}
    assert names == {"v1-5-pruned-emaonly", "chilloutmix_NiPrunedFp32Fix"}
    assert [m["name"] for m in json.loads(api("/sdapi/v1/loras")[1])] == ["FilmVelvia3"]
    assert "bad_pictures" in json.loads(api("/sdapi/v1/embeddings")[1])["loaded"]
    assert [m["model_name"] for m in json.loads(api("/sdapi/v1/sd-vae")[1])] == [
        "vae-ft-mse-840000-ema-pruned.safetensors"
    ]


def test_webui_lists_the_extensions(api, ready):
    extensions = {e["name"]: e["enabled"] for e in json.loads(api("/sdapi/v1/extensions")[1])}
    assert extensions.get("sd-webui-lobe-theme") is True
    assert extensions.get("adetailer") is True
    assert extensions.get("sd-webui-roop") is True
    assert not extensions.get("sd-webui-additional-networks")


def test_roop_was_repaired(host):
    """The fake comes with a check that a fork made too weak."""
    check = host.file(f"{WEBUI}/extensions/sd-webui-roop/scripts/cimage.py").content_string
    assert check.startswith("# sdops.webui: hardened safety check")
    assert host.file("/root/.ifnude/detector.onnx").exists


def test_settings_were_applied_with_their_types(api, ready):
    assert json.loads(api("/sdapi/v1/options")[1])["CLIP_stop_at_last_layers"] == 2


def test_api_renders_again_after_the_power_cycle(api, ready):
    status, body = api("/sdapi/v1/txt2img", data={"prompt": "x", "steps": 1, "width": 64, "height": 64, "seed": 1})
    assert status == 200
    assert json.loads(body)["images"][0].startswith("iVBORw0KGgo")


# what the real WebUI serves besides, and what nobody serves
NOT_LISTED = [
    ("get", path)
    for path in (
        *("/file=extensions/x/javascript/y.js", "/webui-assets/x", "/no-such-page", "//", "/docs", "/info"),
        *("/queue/status", "/login_check", "/internal/pending-tasks", "/internal/sysinfo-download"),
        *("/internal/quicksettings-hint", "/sdapi/v1/cmd-flags", "/sdapi/v1/memory", "/sdapi/v1/samplers"),
        *("/sdapi/v1/schedulers", "/sdapi/v1/scripts", "/sdapi/v1/upscalers", "/sdapi/v1/hypernetworks"),
        *("/sdapi/v1/face-restorers", "/sdapi/v1/prompt-styles"),
    )
] + [
    ("post", path)
    for path in (
        *("/internal/progress", "/sdapi/v1/png-info", "/sdapi/v1/interrupt", "/sdapi/v1/skip"),
        *("/sdapi/v1/unload-checkpoint", "/sdapi/v1/reload-checkpoint", "/sdapi/v1/refresh-vae"),
        *("/sdapi/v1/refresh-loras", "/sdapi/v1/refresh-embeddings", "/sdapi/v1/server-stop"),
    )
]


def test_nothing_answers_without_credentials(api, ready):
    """Every route there is, as the WebUI itself lists them, and those that it does not list."""
    routes = json.loads(api("/openapi.json")[1])["paths"]
    requests = [(method, path) for path, methods in routes.items() for method in methods] + NOT_LISTED
    assert len(requests) > 40
    answering = {
        (method, path)
        for method, path in requests
        if api(path, credentials=False, data=None if method == "get" else {})[0] != 401
    }
    assert answering == {("get", "/"), ("get", "/login"), ("post", "/login"), ("get", "/internal/ping")}


def test_no_secret_is_readable_by_others_or_in_argv(host, api, ready):
    password = host.check_output(f"cut -d: -f2 {HOME}/secrets/webui-credentials").strip()
    assert len(password) >= 24
    assert host.file(f"{HOME}/secrets/webui-credentials").mode == 0o600
    assert host.file(f"{HOME}/xray/config.json").mode == 0o600
    uuid = re.search(r'"id": "([0-9a-f-]{36})"', host.file(f"{HOME}/xray/config.json").content_string).group(1)
    everything = host.check_output("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' || true")
    sysinfo = api("/internal/sysinfo")[1]
    logs = host.check_output(f"cat {HOME}/log/*")
    for secret in (password, uuid):
        assert secret not in everything
        assert secret not in sysinfo
        assert secret not in logs


def test_blocked_sites_are_reached_only_through_the_proxy(host):
    direct = host.run("curl -s -o /dev/null --noproxy '*' -m 5 https://git.lab.test/")
    assert direct.rc != 0
    proxied = host.run("curl -s -o /dev/null -x http://127.0.0.1:10809 -m 20 -w '%{http_code}' https://git.lab.test/")
    assert proxied.rc == 0


def test_login_shells_and_git_use_the_proxy(host):
    out = host.check_output("bash -lc 'echo $http_proxy $https_proxy ${all_proxy-unset}'")
    assert out == "http://127.0.0.1:10809 http://127.0.0.1:10809 unset"
    assert host.check_output("git config --global http.proxy") == "http://127.0.0.1:10809"


def test_environment_has_the_configured_python(host):
    prefix = "/root/autodl-tmp/envs/StableDiffusion"
    assert host.check_output(f"{prefix}/bin/python -c 'import sys; print(sys.prefix)'") == prefix
    assert host.check_output(f"{prefix}/bin/python -c 'import xformers; print(xformers.__version__)'") == "0.0.23.post1"


def test_other_places_were_left_alone(host):
    """Only paths of the collection, and those that apt may install, differ from the list made before the first run."""
    allowed = (
        r"^/opt/sdops",
        r"^/opt$",
        r"^/etc/autodl\.sh",
        r"^/etc$",
        r"^/etc/profile\.d(/sdops-proxy\.sh)?$",
        r"^/root$",
        r"^/root/\.(gitconfig|cache|ansible|local|config|ifnude)(/|$)",
        r"^/root/autodl-(tmp|fs)(/|$)",
    )
    now = "find /etc /usr /root /opt /init -xdev -not -path '/root/.ansible*' -printf '%p %m %u %s\\n' | sort"
    diff = host.run(f'bash -c "diff /var/tmp/before.txt <({now})"').stdout
    touched = {line.split()[1] for line in diff.splitlines() if line[:1] in "<>"}
    unexpected = sorted(p for p in touched if not any(re.search(a, p) for a in allowed))
    assert unexpected == []

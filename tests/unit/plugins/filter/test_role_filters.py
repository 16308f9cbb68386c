"""The filters that compute what roles hand to modules or print."""

from __future__ import annotations

from ansible_collections.sdops.webui.plugins.filter.checkout_specs import checkout_specs
from ansible_collections.sdops.webui.plugins.filter.gpu_summary import gpu_summary
from ansible_collections.sdops.webui.plugins.filter.launch_key import launch_key
from ansible_collections.sdops.webui.plugins.filter.model_summary import model_summary
from ansible_collections.sdops.webui.plugins.filter.repository_environment import repository_environment

BLIP = {"name": "BLIP", "variable": "BLIP", "repo": "https://git.test/BLIP.git", "commit": "a" * 40}
CARD = {"name": "NVIDIA GeForce RTX 4090", "memory_mb": 24564, "capability": "8.9"}


def test_checkout_specs():
    assert checkout_specs([BLIP], "/webui/repositories") == [
        {"name": "BLIP", "url": BLIP["repo"], "commit": BLIP["commit"], "dest": "/webui/repositories/BLIP"}
    ]
    assert checkout_specs([], "/webui") == []


def test_repository_environment():
    assert repository_environment([BLIP]) == {"BLIP_REPO": BLIP["repo"], "BLIP_COMMIT_HASH": BLIP["commit"]}


def test_the_launch_key_is_blind_to_routes_only():
    config = {"args": ["--api"], "environment": {"HOME": "/root"}}
    key = launch_key(config)
    routes = {"https_proxy": "http://127.0.0.1:1", "NO_PROXY": "localhost", "HF_ENDPOINT": "https://mirror.test"}
    assert launch_key({**config, "environment": {**config["environment"], **routes}}) == key
    assert launch_key(dict(reversed(list(config.items())))) == key
    others = [
        {**config, "args": ["--api", "--listen"]},
        {**config, "environment": {"HOME": "/home/me"}},
        {**config, "environment": {"HOME": "/root", "proxy_of": "me"}},
        {**config, "tcmalloc": True},
    ]
    assert len({key, *map(launch_key, others)}) == 5


def test_model_summary():
    model = {
        "status": "installed",
        "kind": "lora",
        "name": "a.safetensors",
        "bytes": 151112832,
        "path": "/m/a.safetensors",
    }
    assert model_summary([model, {**model, "status": "unresolved", "bytes": None}]) == [
        "installed lora a.safetensors (144.11 MB) /m/a.safetensors",
        "unresolved lora a.safetensors (0.00 Bytes) /m/a.safetensors",
    ]


def test_gpu_summary():
    card = "NVIDIA GeForce RTX 4090, 24564 MiB, driver 550.54.14, compute capability 8.9"
    assert gpu_summary({"gpus": [CARD, CARD], "driver": "550.54.14", "reason": ""}) == [card, card]
    unknown = {"gpus": [{**CARD, "memory_mb": 0, "capability": ""}], "driver": "", "reason": "nvidia-smi hangs."}
    assert gpu_summary(unknown) == [
        "NVIDIA GeForce RTX 4090, memory unknown, driver unknown, compute capability unknown",
        "nvidia-smi hangs.",
    ]
    assert gpu_summary({"gpus": [], "driver": "", "reason": "There is no nvidia-smi."}) == [
        "none: There is no nvidia-smi."
    ]

"""What the roles of the environment do with what the modules tell them, on this machine, with fakes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from helpers.ansible_site import Site
from helpers.fake_conda import OTHER, VERSION, fake_conda
from helpers.wheels import install, venv

from lab.servers.build import FAKES, Builder, wheels

SMI = """#!/bin/bash
# fake of nvidia-smi: the card in the file beside it
[ -s "$0.card" ] || { echo "No devices were found"; exit 6; }
{ read -r name; read -r capability; } < "$0.card"
fields=${1#*=}; line=
for field in ${fields//,/ }; do
  case $field in
    index) value=0 ;; name) value=$name ;; compute_cap) value=$capability ;; driver_version) value=550.90.07 ;; *) value=24564 ;;
  esac
  line="$line${line:+, }$value"
done
echo "$line"
"""


def playbook(site: Site, *tasks: dict) -> str:
    path = site.base / "play.yml"
    path.write_text(json.dumps([{"hosts": "webui", "gather_facts": False, "tasks": [*tasks]}]))
    return str(path)


def role(name: str, **more: object) -> dict:
    return {"name": "Run it", "ansible.builtin.include_role": {"name": "sdops.webui." + name, **more}}


def passed(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def assert_rejected(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode != 0, result.stdout
    for word in words:
        assert word in " ".join((result.stdout + result.stderr).split()), word


# --- what counts as another version ----------------------------------------------------------------------------------
PRINTED = (
    "__sd_webui_desired_state",
    "__sd_webui_torch",
    "__sd_webui_environment",
    "__webui_service_attention",
    "__webui_service_launch_config",
    "__webui_service_launch_key",
)
# hosts that differ from the first in one thing each, or in what is no other version
HOSTS = {
    "mirrors": {
        "sdops_github": "https://proxy.example.org/https://github.com",
        "sd_webui_torch_mirror": "https://mirror.example.org/pytorch/whl",
        "sdops_huggingface_endpoint": "https://hf.example.org",
        "sdops_pip_index_url": "https://pypi.example.org/simple",
    },
    "cpu": {"sdops_device": "cpu"},
    "blackwell": {"sdops_gpu_capabilities": ["12.0"]},
    "index": {"sd_webui_torch_index_url": ""},
    "constraints": {"sd_webui_constraints": ["numpy==1.26.4"]},
    "clip": {"sd_webui_clip_package": "https://github.com/openai/CLIP/archive/%s.zip" % ("a" * 40)},
    "old": {"sd_webui_version": "1.5.2"},
    "without": {"xformers_build_version": "none"},
}


def test_what_another_version_is(site: Site) -> None:
    """Not another mirror. The variables of the roles as they are after everything else was resolved."""
    more = site.base / "more.json"
    hosts = {name: {"ansible_connection": "local", **variables} for name, variables in HOSTS.items()}
    more.write_text(json.dumps({"webui": {"hosts": hosts}}))
    preflights = [role(name, tasks_from="preflight", public=True) for name in ("sd_webui", "webui_service")]
    show = {
        "name": "Show them",
        "ansible.builtin.copy": {
            "dest": f"{site.base}/{{{{ inventory_hostname }}}}.json",
            "content": "{{{{ {{{}}} | to_json }}}}".format(", ".join(f"'{name}': {name}" for name in PRINTED)),
            "mode": "0600",
        },
    }
    plan = {"xformers_installed": "0.0.23.post1"}
    passed(
        site.play(
            playbook(site, *preflights, show),
            "-i",
            str(more),
            __webui_service_plan=plan,
            webui_service_smoke_test=False,
        )
    )
    found = {name: json.loads((site.base / f"{name}.json").read_text()) for name in ("box", *HOSTS)}
    now = {name: values["__sd_webui_desired_state"] for name, values in found.items()}
    assert [name for name in HOSTS if now[name] == now["box"]] == ["mirrors", "without"]
    assert "://" not in json.dumps(now)
    assert found["mirrors"]["__sd_webui_environment"] != found["box"]["__sd_webui_environment"]
    # nor a reason to start again, although the process gets it when it starts next
    keys = {name: values["__webui_service_launch_key"] for name, values in found.items()}
    assert found["mirrors"]["__webui_service_launch_config"] != found["box"]["__webui_service_launch_config"]
    assert [name for name in HOSTS if keys[name] != keys["box"]] == ["cpu", "without"]
    # the label makes 2.1.2+cpu another build than 2.1.2+cu121; the normal package index has none
    assert {name: values["__sd_webui_torch"][0] for name, values in found.items()} == {
        **dict.fromkeys(found, "torch==2.1.2+cu121"),
        "cpu": "torch==2.1.2+cpu",
        "blackwell": "torch==2.7.0+cu128",
        "index": "torch==2.1.2",
        "old": "torch==2.0.1+cu118",
    }
    # one that is installed is not used where none is wanted
    sdp = [n for n, values in found.items() if values["__webui_service_attention"] == ["--opt-sdp-attention"]]
    assert sdp == ["cpu", "without"]


# --- xformers --------------------------------------------------------------------------------------------------------
@pytest.fixture
def gpu_host(site: Site) -> dict:
    """An environment with the lab's torch and xformers, which has code for 8.6 only, and a card that can be changed."""
    entries = json.loads((FAKES / "manifest.json").read_text())["wheels"]
    builder = Builder(site.base / "lab")
    wheels.build(builder, [e for e in entries if e["version"] in ("2.1.2+cu121", "0.0.23.post1")], FAKES)
    python = venv(site.base / "env")
    made = builder.content / "wheels"
    install(python, "--no-index", "--find-links", made, "torch", "xformers")
    [package] = (site.base / "env").glob("lib/python*/site-packages/xformers")
    (package / "build_info.json").write_text('{"TORCH_CUDA_ARCH_LIST": "8.6"}')
    program = site.base / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    (site.base / "home" / "webui").mkdir(parents=True)
    site.card = program.with_name("nvidia-smi.card")
    os.environ["SDOPS_NVIDIA_SMI"] = str(program)
    yield {"sdops_env_prefix": f"{site.base}/env", "sdops_nvidia_smi": str(program)}
    del os.environ["SDOPS_NVIDIA_SMI"]


def test_a_card_that_it_does_not_work_on_is_not_forgotten(site: Site, gpu_host: dict) -> None:
    expected_task = "Run xformers.info"

    def run() -> subprocess.CompletedProcess[str]:
        return site.play(playbook(site, role("xformers_build")), **gpu_host)

    stamp = site.base / "home" / "webui" / "content-keys.json"
    # no card: it only has to load, and nothing is proven
    passed(run())
    assert not stamp.exists()
    site.card.write_text("NVIDIA A100\n8.0\n")
    for _ in range(2):
        assert_rejected(run(), "xformers 0.0.23.post1 does not work here", "8.0", "xformers_build_version: none")
    site.card.write_text("NVIDIA RTX A5000\n8.6\n")
    output = passed(run())
    assert "changed=1" in output and expected_task in output
    output = passed(run())
    assert "changed=0" in output and expected_task not in output
    # written down for another CUDA: this is not the one that is wanted, although it is called the same
    record = {"version": "0.0.23.post1", "torch": "2.1.2", "cuda": "11.8", "capabilities": [], "origin": "index"}
    (site.base / "home" / "webui" / "xformers.json").write_text(json.dumps(record))
    output = passed(
        site.play(
            playbook(site, role("xformers_build")),
            "--check",
            **gpu_host,
            xformers_build_index_url=f"file://{site.base}",
        )
    )
    # published for Pythons before 3.12
    assert f"xformers: {'wheel' if sys.version_info < (3, 12) else 'build'}:" in output


def test_a_torch_that_cannot_be_queried_stops_the_run(site: Site, gpu_host: dict) -> None:
    [info] = (site.base / "env").rglob("torch-*.dist-info")
    (info / "INSTALLER").unlink()
    assert_rejected(
        site.play(playbook(site, role("xformers_build")), **gpu_host), "torch is not installed", "role sd_webui"
    )
    passed(site.play(playbook(site, role("xformers_build")), "--check", **gpu_host))


# --- Python ----------------------------------------------------------------------------------------------------------
def test_an_environment_by_name_and_another_python(site: Site) -> None:
    old = fake_conda(site.base / "old" / "bin", script=OTHER % "3.9.1")
    new = fake_conda(site.base / "old" / "new")
    shared = site.base / "old" / "conda-root" / "envs" / "sd"
    spec = {"conda_env_name": "sd", "sdops_env_prefix": str(shared), "conda_env_channels": ["conda-forge"]}
    play = playbook(site, role("conda_env"))
    passed(site.play(play, **spec, conda_env_engine=str(old), conda_env_python="3.9.1"))
    assert (shared / "bin" / "python").exists()
    # something works in it
    (site.base / "home" / "webui").mkdir(parents=True)
    (site.base / "home" / "webui" / "installed.json").write_text("{}")
    (shared / "mine").touch()
    spec.update(conda_env_engine=str(new), conda_env_python=VERSION)
    output = passed(site.play(play, **spec, conda_env_recreate=True))
    assert "changed=2" in output  # kept aside, recreated
    assert not (shared / "mine").exists()
    assert (shared.with_name("sd.before") / "tree-0" / "mine").exists()
    assert "changed=0" in passed(site.play(play, **spec, conda_env_recreate=True))


def test_an_installer_that_was_interrupted_is_run_again(site: Site) -> None:
    conda = site.base / "conda.py"
    conda.write_text(fake_conda(site.base / "made").read_text())
    installer = site.base / "installer.sh"
    installer.write_text(
        "# fake of Miniforge's installer: the first time it is cut when conda is there already\n"
        f'while [ "$1" != -p ]; do shift; done\nmkdir -p "$2/bin"\ncp {conda} "$2/bin/conda"\nchmod +x "$2/bin/conda"\n'
        f'[ -e {site.base}/cut ] || {{ touch {site.base}/cut; exit 1; }}\ntouch "$2/whole"\n'
    )
    spec = {
        "conda_env_installer_url": f"file://{installer}",
        "conda_env_installer_sha256": hashlib.sha256(installer.read_bytes()).hexdigest(),
        "conda_env_python": VERSION,
        "conda_env_channels": ["conda-forge"],
    }
    play, there = playbook(site, role("conda_env")), site.base / "data" / "miniforge3"
    planned = passed(site.play(play, "--check", "--diff", **spec))
    assert "changed=" in planned and not (site.base / "data").exists()
    assert_rejected(site.play(play, **spec), "Run the installer")
    assert (there / "bin" / "conda").exists() and not (there / "whole").exists()
    passed(site.play(play, **spec))
    assert (there / "whole").exists()
    assert sorted(p.name for p in (site.base / "data").iterdir() if "sdops" in p.name) == []
    assert "changed=0" in passed(site.play(play, **spec))

"""launch.py of the fake WebUI: flags, environment variables, order of the install phase, failures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXIT = ("--exit", "--skip-torch-cuda-test")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "extensions").mkdir()
    return tmp_path


def extension(data: Path, name: str, **files: str) -> Path:
    path = data / "extensions" / name
    path.mkdir()
    for file, text in files.items():
        (path / f"{file}.py").write_text(text)
    return path


def test_exit_says_who_it_is_what_it_runs_and_ends_well(site):
    done = site.launch(*EXIT)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "fake" in lines[0] and "not the real WebUI" in lines[0]
    assert lines[1] == f"Python {sys.version.splitlines()[0]}" or lines[1].startswith("Python 3.")
    assert "Version: v1.10.1" in lines
    assert f"Commit hash: {site.commit}" in lines
    assert lines[-1] == "Exiting because of --exit argument"
    assert "Cloning" not in done.stdout and "Installing" not in done.stdout  # all was there


def test_unknown_flag_ends_with_code_2_unless_errors_are_ignored(site, data):
    flags = ("--skip-prepare-environment", "--data-dir", str(data), "--no-such-flag")
    done = site.launch(*flags)
    assert done.returncode == 2
    assert "unrecognized arguments: --no-such-flag" in done.stderr
    # past the parser it goes on, to a port that no process may have
    done = site.launch(*flags, "--port", "70000", IGNORE_CMD_ARGS_ERRORS="1")
    assert done.returncode == 1 and "unrecognized" not in done.stderr


def test_exit_is_no_flag_once_preparation_is_skipped(site, data):
    done = site.launch("--exit", "--skip-prepare-environment", "--data-dir", str(data))
    assert done.returncode == 2
    assert "unrecognized arguments: --exit" in done.stderr


def test_commandline_args_are_appended_and_printed_with_their_secrets(site, data):
    args = f"--data-dir {data} --api-auth 'lab:leak me' --nope"
    done = site.launch("--skip-prepare-environment", COMMANDLINE_ARGS=args)
    assert done.returncode == 2
    assert "Launching Web UI with arguments: --skip-prepare-environment --data-dir" in done.stdout
    assert "'lab:leak me'" in done.stdout


def test_every_flag_that_the_collection_may_use_is_taken(site, data):
    flags = """
    --api --api-log --api-server-stop --ckpt-dir c --vae-dir v --vae-path p --embeddings-dir e --lora-dir l
    --lyco-dir-backcompat y --hypernetwork-dir h --esrgan-models-path r --gfpgan-models-path g --models-dir m --theme dark
    --ui-config-file u --ui-settings-file s --listen --server-name n --share --subpath /x --gradio-auth a:b
    --gradio-auth-path f --api-auth a:b --nowebui --tls-keyfile k --tls-certfile t --cors-allow-origins *
    --timeout-keep-alive 5 --freeze-settings --loglevel INFO --xformers --opt-sdp-attention --no-half --no-half-vae
    --medvram --medvram-sdxl --lowvram --disable-extra-extensions --disable-all-extensions --use-cpu all
    --enable-insecure-extension-access --no-hashing --do-not-download-clip --skip-version-check --update-check
    --skip-python-version-check --reinstall-torch --reinstall-xformers --skip-install --skip-load-model-at-start"""
    done = site.launch("--skip-prepare-environment", "--data-dir", str(data), *flags.split(), "--nope")
    assert done.returncode == 2
    assert "unrecognized arguments: --nope" in done.stderr


def test_wrong_arity_is_an_error(site, data):
    done = site.launch("--skip-prepare-environment", "--data-dir", str(data), "--port", "six")
    assert done.returncode == 2 and "invalid int value: 'six'" in done.stderr


def test_dead_repository_ends_the_start(site, tmp_path):
    webui = tmp_path / "webui"
    shutil.copytree(site.webui, webui, ignore=shutil.ignore_patterns("repositories"))
    done = site.launch(*EXIT, webui=webui, STABLE_DIFFUSION_REPO=str(tmp_path / "gone.git"))
    assert done.returncode == 1
    assert "RuntimeError: Couldn't clone Stable Diffusion." in done.stderr
    assert "Command: " in done.stderr and "Error code: 128" in done.stderr
    assert (webui / "repositories" / "stable-diffusion-webui-assets").is_dir()  # the one before it
    assert not (webui / "repositories" / "stable-diffusion-stability-ai").exists()


def test_defaults_are_the_upstream_addresses(site):
    text = (site.webui / "modules" / "launch_utils.py").read_text()
    for pin in (
        "https://github.com/Stability-AI/stablediffusion.git",
        "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
        "45c443b316737a4ab6e40413d7794a7f5657c19f",
        "ab527a9a6d347f364e3d185ba6d714e22d80cb3c",
        "48211a1594f1321b00f14c9f7a5b4813144b2fb9",
        "6f7db241d2f8ba7457bac5ca9753331f0c266917",
    ):
        assert pin in text


def test_clone_at_the_requested_commit_is_taken_another_is_moved(site, tmp_path):
    webui, clone = tmp_path / "webui", tmp_path / "webui" / "repositories" / "BLIP"
    shutil.copytree(site.webui, webui)

    def git(*args: str) -> str:
        command = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@lab.test", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("remote", "set-url", "origin", "/nowhere")
    done = site.launch(*EXIT, webui=webui)
    assert done.returncode == 0 and git("remote", "get-url", "origin") == "/nowhere"
    git("commit", "--quiet", "--allow-empty", "--message", "elsewhere")
    done = site.launch(*EXIT, webui=webui)
    assert done.returncode == 0, done.stderr
    assert "Fetching updates for BLIP..." in done.stdout
    assert git("rev-parse", "HEAD") == site.pins["BLIP_COMMIT_HASH"]
    assert git("remote", "get-url", "origin") == site.pins["BLIP_REPO"]


def test_gpu_is_required_unless_the_test_is_skipped(site, tmp_path):
    done = site.launch("--exit")
    assert done.returncode == 1
    assert "RuntimeError: Torch is not able to use GPU; add --skip-torch-cuda-test" in done.stderr
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA RTX A5000, 8.6, 24564, 24000'\n")
    smi.chmod(0o755)
    assert site.launch("--exit", SDOPS_NVIDIA_SMI=str(smi)).returncode == 0


def test_missing_torch_runs_torch_command(site, tmp_path):
    (tmp_path / "lab_installer.py").write_text("import sys; print('asked for', sys.argv[1:]); sys.exit(3)")
    done = site.launch(
        *EXIT, PYTHONPATH=str(tmp_path), TORCH_COMMAND="lab_installer torch==9", TORCH_INDEX_URL="http://x"
    )
    assert done.returncode == 1
    assert "Installing torch and torchvision" in done.stdout
    assert "asked for ['torch==9']" in done.stdout
    assert "RuntimeError: Couldn't install torch." in done.stderr and "Error code: 3" in done.stderr


def test_missing_clip_is_installed_from_its_variable_before_anything_is_cloned(site, tmp_path):
    trees = [tree for tree in site.env["PYTHONPATH"].split(":") if not tree.endswith("CLIP")]
    package = tmp_path / "no-such-clip.zip"
    env = {"PYTHONPATH": ":".join(trees), "CLIP_PACKAGE": str(package), "ASSETS_COMMIT_HASH": "0" * 40}
    done = site.launch(*EXIT, **env)
    assert done.returncode == 1
    assert "RuntimeError: Couldn't install clip." in done.stderr and str(package) in done.stderr
    # with --skip-install it is passed over, and the next thing is the repositories
    done = site.launch(*EXIT, "--skip-install", **env)
    assert done.returncode == 1 and "Couldn't checkout commit 0000000000" in done.stderr


def test_xformers_is_installed_only_when_requested(site):
    trees = [tree for tree in site.env["PYTHONPATH"].split(":") if not tree.endswith("xformers")]
    env = {"PYTHONPATH": ":".join(trees), "XFORMERS_PACKAGE": "/nowhere/xformers.whl"}
    assert site.launch(*EXIT, **env).returncode == 0
    done = site.launch(*EXIT, "--xformers", **env)
    assert done.returncode == 1 and "RuntimeError: Couldn't install xformers." in done.stderr
    assert "install -U -I --no-deps /nowhere/xformers.whl" in done.stderr
    assert site.launch(*EXIT, "--xformers").returncode == 0  # importable: nothing to do


def test_requirements_are_compared_by_their_pins(site, tmp_path):
    expected = tmp_path / "requirements.txt"
    expected.write_text("fastapi==0.0.1  # another version is here\n")
    env = {
        "REQS_FILE": str(expected),
        "INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_INDEX": "1",
    }
    done = site.launch(*EXIT, **env)
    assert "Installing requirements" in done.stdout
    assert done.returncode == 1 and "RuntimeError: Couldn't install requirements." in done.stderr
    assert "--index-url http://127.0.0.1:9/simple" in done.stderr
    assert site.launch(*EXIT, "--skip-install", **env).returncode == 0


def test_installers_of_enabled_extensions_run_and_may_fail(site, data):
    note = (
        "import os, sys; print('installer of', os.path.basename(os.path.dirname(__file__)), os.environ['PYTHONPATH'])"
    )
    extension(data, "good", install=note)
    extension(data, "bad", install="import sys; sys.exit('no such wheel')")
    extension(data, "off", install=note)
    (data / "config.json").write_text(json.dumps({"disabled_extensions": ["off"]}))
    done = site.launch(*EXIT, "--data-dir", str(data))
    assert done.returncode == 0
    assert f"installer of good {site.webui}:" in done.stdout
    assert "installer of off" not in done.stdout
    assert "*** Error running install.py for extension" in done.stderr and "no such wheel" in done.stderr
    for flag in ("--disable-extra-extensions", "--disable-all-extensions", "--skip-install"):
        assert "installer of" not in site.launch(*EXIT, flag, "--data-dir", str(data)).stdout
    (data / "config.json").write_text(json.dumps({"disable_all_extensions": "extra"}))
    assert "installer of" not in site.launch(*EXIT, "--data-dir", str(data)).stdout


def test_flags_of_an_extension_exist_while_it_is_enabled(site, data):
    from helpers.fake_webui import FAKES

    name = "sd-webui-additional-networks"
    shutil.copytree(FAKES / "extensions" / name, data / "extensions" / name)
    # a port that cannot be had stops the start after the parser
    flags = ("--skip-prepare-environment", "--data-dir", str(data), "--addnet-max-model-count", "3", "--port", "70000")
    assert site.launch(*flags).returncode == 1
    (data / "config.json").write_text(json.dumps({"disabled_extensions": [name]}))
    done = site.launch(*flags)
    assert done.returncode == 2 and "--addnet-max-model-count" in done.stderr


def test_broken_preload_is_reported_and_passed_over(site, data):
    extension(data, "bad", preload="def preload(parser):\n    raise ValueError('lab')\n")
    done = site.launch("--skip-prepare-environment", "--data-dir", str(data), "--port", "70000")
    assert done.returncode == 1
    assert "*** Error running preload() for" in done.stderr


def test_without_the_cloned_repositories_nothing_starts(site, tmp_path):
    webui = tmp_path / "webui"
    shutil.copytree(site.webui, webui, ignore=shutil.ignore_patterns("repositories"))
    done = site.launch("--skip-prepare-environment", webui=webui)
    assert done.returncode == 1 and "AssertionError: Couldn't find Stable Diffusion in any of" in done.stderr


def test_the_parser_can_be_used_by_itself(site):
    code = "import sys; sys.argv = ['x']; from modules.cmd_args import parser; print(parser.parse_args(['--port', '6006']).port)"
    done = subprocess.run([sys.executable, "-c", code], cwd=site.webui, capture_output=True, text=True)
    assert done.stdout.strip() == "6006", done.stderr

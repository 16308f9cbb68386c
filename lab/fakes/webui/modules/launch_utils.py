"""The install phase: what a start of 1.10.1 checks, clones and installs, in its order, with its lines and errors."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import Iterator

from modules import cmd_args, errors
from modules.paths_internal import extensions_dir, script_path
from modules.timer import startup_timer

args, _ = cmd_args.parser.parse_known_args()

python = sys.executable
git = os.environ.get("GIT", "git")
index_url = os.environ.get("INDEX_URL", "")
dir_repos = "repositories"
live_output = os.environ.get("WEBUI_LAUNCH_LIVE_OUTPUT") == "1"

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

# (directory, name in messages, prefix of its two variables, default address, default commit), in the order of cloning
REPOSITORIES = (
    (
        "stable-diffusion-webui-assets",
        "assets",
        "ASSETS",
        "https://github.com/AUTOMATIC1111/stable-diffusion-webui-assets.git",
        "6f7db241d2f8ba7457bac5ca9753331f0c266917",
    ),
    (
        "stable-diffusion-stability-ai",
        "Stable Diffusion",
        "STABLE_DIFFUSION",
        "https://github.com/Stability-AI/stablediffusion.git",
        "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
    ),
    (
        "generative-models",
        "Stable Diffusion XL",
        "STABLE_DIFFUSION_XL",
        "https://github.com/Stability-AI/generative-models.git",
        "45c443b316737a4ab6e40413d7794a7f5657c19f",
    ),
    (
        "k-diffusion",
        "K-diffusion",
        "K_DIFFUSION",
        "https://github.com/crowsonkb/k-diffusion.git",
        "ab527a9a6d347f364e3d185ba6d714e22d80cb3c",
    ),
    (
        "BLIP",
        "BLIP",
        "BLIP",
        "https://github.com/salesforce/BLIP.git",
        "48211a1594f1321b00f14c9f7a5b4813144b2fb9",
    ),
)
CLIP_ZIP = "https://github.com/openai/CLIP/archive/d50d76daa670286dd6cacf3bcd80b5e4823fc8e1.zip"
OPENCLIP_ZIP = "https://github.com/mlfoundations/open_clip/archive/bb6e834e9c70d9c27d0dc3ecedeebeaeb1ffad6b.zip"


def check_python_version() -> None:
    """Warn about a Python outside 3.7-3.11; never stop."""
    if sys.version_info[0] == 3 and 7 <= sys.version_info[1] <= 11:
        return
    version = ".".join(str(part) for part in sys.version_info[:3])
    errors.print_error_explanation(
        f"INCOMPATIBLE PYTHON VERSION\n\nThe contract is kept for Python 3.10.6 (3.7 to 3.11), this is {version}.\n"
        "Use --skip-python-version-check to suppress this warning."
    )


@functools.lru_cache(maxsize=None)
def commit_hash() -> str:
    try:
        return subprocess.check_output([git, "-C", script_path, "rev-parse", "HEAD"], encoding="utf8").strip()
    except Exception:
        return "<none>"


@functools.lru_cache(maxsize=None)
def git_tag() -> str:
    """The nearest git tag, else the first heading of the change log, else '<none>'."""
    try:
        return subprocess.check_output([git, "-C", script_path, "describe", "--tags"], encoding="utf8").strip()
    except Exception:
        try:
            with open(os.path.join(script_path, "CHANGELOG.md"), encoding="utf8") as file:
                return next(line.strip() for line in file if line.strip()).replace("## ", "")
        except Exception:
            return "<none>"


def run(command: str, desc=None, errdesc=None, custom_env=None, live: bool = live_output) -> str:
    """Run a shell command line and return its output; RuntimeError with command, code and output when it fails."""
    if desc is not None:
        print(desc, flush=True)
    pipe = None if live else subprocess.PIPE
    done = subprocess.run(
        command,
        shell=True,
        env=os.environ if custom_env is None else custom_env,
        encoding="utf8",
        errors="ignore",
        stdout=pipe,
        stderr=pipe,
    )
    if done.returncode:
        lines = [f"{errdesc or 'Error running command'}.", f"Command: {command}", f"Error code: {done.returncode}"]
        lines += [f"{name}: {text}" for name, text in (("stdout", done.stdout), ("stderr", done.stderr)) if text]
        raise RuntimeError("\n".join(lines))
    return done.stdout or ""


def is_installed(package: str) -> bool:
    """True when a distribution or an importable module has this name; its version does not matter."""
    try:
        importlib.metadata.distribution(package)
        return True
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def repo_dir(name: str) -> str:
    return os.path.join(script_path, dir_repos, name)


def run_pip(command: str, desc: str | None = None, live: bool = live_output) -> str | None:
    """``pip COMMAND``; nothing with --skip-install."""
    if args.skip_install:
        return None
    index = f" --index-url {index_url}" if index_url else ""
    line = f'"{python}" -m pip {command} --prefer-binary{index}'
    return run(line, f"Installing {desc}", f"Couldn't install {desc}", live=live)


def check_run_python(code: str) -> bool:
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def run_git(directory: str, name: str, command: str, desc=None, errdesc=None, live=live_output, autofix=True) -> str:
    """``git COMMAND`` in a clone; after a failure the clone is fetched again once and the command repeated."""
    line = f'"{git}" -C "{directory}" {command}'
    try:
        return run(line, desc, errdesc, live=live)
    except RuntimeError:
        if not autofix:
            raise
    print(f"{errdesc}, attempting autofix...")
    fetch, gc = "fetch --refetch --no-auto-gc", "gc --aggressive --prune=now"
    run(f'"{git}" -C "{directory}" {fetch}', f"Fetching all contents for {name}", f"Couldn't fetch {name}", live=True)
    run(f'"{git}" -C "{directory}" {gc}', f"Pruning {name}", f"Couldn't prune {name}", live=True)
    return run(line, desc, errdesc, live=live)


def git_clone(url: str, directory: str, name: str, commit: str | None = None) -> None:
    """A clone of ``url`` at ``commit``; one that is there at this commit already is taken whatever its origin."""
    if os.path.exists(directory):
        if commit is None:
            return
        error = f"Couldn't determine {name}'s hash: {commit}"
        if run_git(directory, name, "rev-parse HEAD", None, error, live=False).strip() == commit:
            return
        error = f"Couldn't determine {name}'s origin URL"
        if run_git(directory, name, "config --get remote.origin.url", None, error, live=False).strip() != url:
            error = f"Failed to set {name}'s origin URL"
            run_git(directory, name, f'remote set-url origin "{url}"', None, error, live=False)
        desc, error = f"Fetching updates for {name}...", f"Couldn't fetch {name}"
        run_git(directory, name, "fetch", desc, error, autofix=False)
        desc = f"Checking out commit for {name} with hash: {commit}..."
        error = f"Couldn't checkout commit {commit} for {name}"
        run_git(directory, name, f"checkout {commit}", desc, error, live=True)
        return
    line = f'"{git}" clone --config core.filemode=false "{url}" "{directory}"'
    try:
        run(line, f"Cloning {name} into {directory}...", f"Couldn't clone {name}", live=True)
    except RuntimeError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    if commit is not None:
        run(f'"{git}" -C "{directory}" checkout {commit}', None, f"Couldn't checkout {name}'s hash: {commit}")


def git_pull_recursive(directory: str) -> None:
    for parent, _, _ in os.walk(directory):
        if not os.path.exists(os.path.join(parent, ".git")):
            continue
        done = subprocess.run(
            [git, "-C", parent, "pull", "--autostash"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf8",
        )
        what = "Couldn't perform 'git pull' on repository in" if done.returncode else "Pulled changes for repository in"
        print(f"{what} '{parent}':\n{done.stdout.strip()}\n")


def list_extensions(settings_file: str) -> list[str]:
    """Directory names of the extensions that flags and the settings file leave enabled."""
    settings = {}
    try:
        with open(settings_file, encoding="utf8") as file:
            settings = json.load(file)
    except FileNotFoundError:
        pass
    except Exception:
        errors.report(f'Could not load settings from "{settings_file}"; it is moved to tmp/config.json', exc_info=True)
        os.makedirs(os.path.join(script_path, "tmp"), exist_ok=True)
        os.replace(settings_file, os.path.join(script_path, "tmp", "config.json"))
    if settings.get("disable_all_extensions", "none") != "none" or not os.path.isdir(extensions_dir):
        return []
    if args.disable_extra_extensions or args.disable_all_extensions:
        return []
    disabled = set(settings.get("disabled_extensions", []))
    return [name for name in os.listdir(extensions_dir) if name not in disabled]


def run_extension_installer(extension_dir: str) -> None:
    """Run its install.py with this program importable; a failure is reported and does not stop the start."""
    installer = os.path.join(extension_dir, "install.py")
    if not os.path.isfile(installer):
        return
    env = dict(os.environ, PYTHONPATH=f"{script_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    error = f"Error running install.py for extension {extension_dir}"
    try:
        output = run(f'"{python}" "{installer}"', errdesc=error, custom_env=env).strip()
        if output:
            print(output)
    except Exception as exc:
        errors.report(str(exc))


def run_extensions_installers(settings_file: str) -> None:
    with startup_timer.subcategory("run extensions installers"):
        for name in list_extensions(settings_file):
            path = os.path.join(extensions_dir, name)
            if os.path.isdir(path):
                run_extension_installer(path)
                startup_timer.record(name)


_requirement = re.compile(r"\s*([-_a-zA-Z0-9]+)\s*(?:==\s*([-+_.a-zA-Z0-9]+))?\s*")


def _pins(requirements_file: str) -> Iterator[tuple | None]:
    """(name, version or '') of each line; None for a line that is no requirement."""
    with open(requirements_file, encoding="utf8") as file:
        for line in file:
            if line.strip():
                match = _requirement.match(line)
                yield match and (match.group(1), match.group(2) or "")


def _parse_version(text: str):
    try:
        from packaging.version import parse
    except ImportError:  # packaging comes with CLIP; pip has a copy
        from pip._vendor.packaging.version import parse
    return parse(text)


def requirements_met(requirements_file: str) -> bool:
    """True when every ``==`` pin of the file is installed in that very version."""
    for pin in _pins(requirements_file):
        if pin is None:
            return False
        name, required = pin
        if not required:
            continue
        try:
            installed = importlib.metadata.version(name)
        except Exception:
            return False
        if _parse_version(installed) != _parse_version(required):
            return False
    return True


def prepare_environment() -> None:
    env = os.environ.get
    torch_index = env("TORCH_INDEX_URL", "https://download.pytorch.org/whl/cu121")
    torch_command = env(
        "TORCH_COMMAND", f"pip install torch==2.1.2 torchvision==0.16.2 --extra-index-url {torch_index}"
    )
    requirements_file = env("REQS_FILE", "requirements_versions.txt")

    restart_mark = os.path.join(script_path, "tmp", "restart")
    if os.path.exists(restart_mark):
        os.remove(restart_mark)
        os.environ.setdefault("SD_WEBUI_RESTARTING", "1")
    if not args.skip_python_version_check:
        check_python_version()
    startup_timer.record("checks")

    print(f"Python {sys.version}")
    print(f"Version: {git_tag()}")
    print(f"Commit hash: {commit_hash()}")
    startup_timer.record("git version info")

    if args.reinstall_torch or not is_installed("torch") or not is_installed("torchvision"):
        run(f'"{python}" -m {torch_command}', "Installing torch and torchvision", "Couldn't install torch", live=True)
        startup_timer.record("install torch")

    skip_gpu = args.skip_torch_cuda_test or args.use_ipex
    if not skip_gpu and not check_run_python("import torch; assert torch.cuda.is_available()"):
        raise RuntimeError(
            "Torch is not able to use GPU; add --skip-torch-cuda-test to COMMANDLINE_ARGS variable to disable this check"
        )
    startup_timer.record("torch GPU test")

    if not is_installed("clip"):
        run_pip(f"install {env('CLIP_PACKAGE', CLIP_ZIP)}", "clip")
        startup_timer.record("install clip")
    if not is_installed("open_clip"):
        run_pip(f"install {env('OPENCLIP_PACKAGE', OPENCLIP_ZIP)}", "open_clip")
        startup_timer.record("install open_clip")
    if args.xformers and (args.reinstall_xformers or not is_installed("xformers")):
        run_pip(f"install -U -I --no-deps {env('XFORMERS_PACKAGE', 'xformers==0.0.23.post1')}", "xformers")
        startup_timer.record("install xformers")
    if args.ngrok and not is_installed("ngrok"):
        run_pip("install ngrok", "ngrok")
        startup_timer.record("install ngrok")

    os.makedirs(os.path.join(script_path, dir_repos), exist_ok=True)
    for directory, name, prefix, address, commit in REPOSITORIES:
        url, commit = env(f"{prefix}_REPO", address), env(f"{prefix}_COMMIT_HASH", commit)
        git_clone(url, repo_dir(directory), name, commit)
    startup_timer.record("clone repositores")

    if not os.path.isfile(requirements_file):
        requirements_file = os.path.join(script_path, requirements_file)
    if not requirements_met(requirements_file):
        run_pip(f'install -r "{requirements_file}"', "requirements")
        startup_timer.record("install requirements")

    if not args.skip_install and os.path.isdir(extensions_dir):
        run_extensions_installers(args.ui_settings_file)
    if args.update_check:
        print("version check failed: the sdops lab fake makes none")
    if args.update_all_extensions:
        git_pull_recursive(extensions_dir)
        startup_timer.record("update extensions")

    if "--exit" in sys.argv:
        print("Exiting because of --exit argument")
        sys.exit(0)


def configure_for_tests() -> None:
    for flag in ("--api", "--skip-torch-cuda-test", "--disable-nan-check"):
        if flag not in sys.argv:
            sys.argv.append(flag)
    os.environ["COMMANDLINE_ARGS"] = ""


def start() -> None:
    # as in the original, all of argv is printed, passwords too: that leak is part of what the lab has to show
    print(f"Launching Web UI with arguments: {' '.join(shlex.quote(arg) for arg in sys.argv[1:])}")
    import webui

    webui.webui()


def dump_sysinfo() -> str:
    from modules import sysinfo

    filename = f"sysinfo-{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d-%H-%M}.json"
    with open(filename, "w", encoding="utf8") as file:
        file.write(sysinfo.get())
    return filename

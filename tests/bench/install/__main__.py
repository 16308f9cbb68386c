"""The roles and the tutorial's commands typed by hand, side by side: from an empty directory to ``launch.py --exit``.

    python tests/bench/install --vars FILE [--rounds 1] [--serve]

FILE holds variables for the playbook, as YAML: where the WebUI, its sub-repositories and CLIP lie (``sdops_github``,
``sd_webui_repositories``, ``sd_webui_clip_package``) and the conda channel. Both sides use the same ones, the same package
index, the same constraints and a cache of their own that is empty at the start. By hand, the environment is made before the
clock starts, and what is broken today is put right at once, as if the reader knew: so it gets the better of each doubt.

``--serve`` goes on with the whole site: the WebUI is started and asked, and a second run has to change nothing.

The last lines are JSON: ``{"case": "install", "round": 1, "ours_s": .., "by_hand_s": .., "ratio": .., "same_packages": true}``, with
``--serve`` also ``"ready_s"`` (of the rest of the site), ``"version"`` and ``"second_run_changed"``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


def sh(command: list[str], **options: object) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


class Box:
    """A directory that plays the box: everything of ours below it."""

    def __init__(self, base: Path, given: dict[str, object]) -> None:
        self.base = base
        self.given = given
        for folder in ("home", "profile.d"):
            (base / folder).mkdir(parents=True)
        (base / "vars.yml").write_text(yaml.safe_dump(self.given))
        host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        (base / "hosts.yml").write_text(yaml.safe_dump({"webui": {"hosts": {"box": host}}}))
        self.python = base / "data/envs/StableDiffusion/bin/python"
        self.webui = base / "data/stable-diffusion-webui"

    @staticmethod
    def places(base: Path) -> dict[str, object]:
        return {
            "sdops_home": f"{base}/sdops",
            "sdops_data_dir": f"{base}/data",
            "sdops_boot_hook": f"{base}/autodl.sh",
            "sdops_profile_dir": f"{base}/profile.d",
            "sdops_user_home": f"{base}/home",
            "sdops_gitconfig": f"{base}/home/.gitconfig",
            "sdops_artifacts_dir": f"{base}/artifacts",
            "sdops_manage_packages": False,
        }

    def playbook(self, *arguments: str) -> float:
        """Run site.yml; its seconds. ``said`` is what it printed."""
        command = [str(BIN / "ansible-playbook"), "-i", str(self.base / "hosts.yml"), "-e", f"@{self.base}/vars.yml"]
        started = time.monotonic()
        self.said = sh([*command, str(ROOT / "playbooks/site.yml"), *arguments], cwd=ROOT)
        return time.monotonic() - started

    def serve(self) -> dict[str, object]:
        """The rest of the site, what the WebUI says of itself, and how much a second run changes."""
        seconds = self.playbook()
        port = self.given.get("webui_service_port", 6006)
        login = (self.base / "sdops/secrets/webui-credentials").read_text().strip()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        here = f"http://127.0.0.1:{port}"
        opener.open(f"{here}/internal/ping", timeout=10).read()
        basic = "Basic " + base64.b64encode(login.encode()).decode()
        asked = urllib.request.Request(f"{here}/internal/sysinfo", headers={"Authorization": basic})
        version = json.loads(opener.open(asked, timeout=60).read()).get("Version")
        self.playbook()
        changed = re.search(r"\bchanged=(\d+)", self.said)
        return {
            "ready_s": round(seconds, 1),
            "version": version,
            "second_run_changed": int(changed.group(1)) if changed else None,
        }

    def end(self) -> None:
        """Stop what was started."""
        supervisor = self.base / "sdops/supervisor/supervisord.conf"
        if supervisor.exists():
            control = [str(self.base / "sdops/toolbox/bin/supervisorctl"), "-c", str(supervisor), "shutdown"]
            subprocess.run(control, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def packages(self) -> list[str]:
        return sorted(
            sh([str(self.python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]).split()
        )


def by_hand(base: Path, ours: Box) -> tuple[float, list[str]]:
    """The tutorial's commands in a second directory; seconds and packages."""
    hand = Box(base, {**ours.given, **Box.places(base)})
    try:
        hand.playbook("--tags", "base,conda_env")  # the environment is a present
    finally:
        hand.end()
    pins = json.loads((ours.base / "sdops/webui/environment.json").read_text())
    pins["PIP_CONSTRAINT"] = str(ours.base / "sdops/webui/constraints.txt")
    index = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
    environment = {
        **pins,
        **index,
        "PATH": f"{hand.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{base}/home",
    }
    environment["PIP_CACHE_DIR"] = f"{base}/pip-cache"
    repo = sh(["git", "-C", str(ours.webui), "remote", "get-url", "origin"]).strip()
    commit = sh(["git", "-C", str(ours.webui), "rev-parse", "HEAD"]).strip()
    pip = [str(hand.python), "-m", "pip", "install", "--disable-pip-version-check"]
    # conda brings pip with Python; a channel without it leaves that to Python itself
    sh([str(hand.python), "-m", "ensurepip"], env=environment)
    started = time.monotonic()
    sh(["git", "clone", "--quiet", repo, str(hand.webui)], env=environment)
    sh(
        ["git", "-C", str(hand.webui), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
        env=environment,
    )
    sh([*pip, "pip==24.0", "setuptools==69.5.1", "wheel"], env=environment)
    sh([str(hand.python), "-m", *pins["TORCH_COMMAND"].split()], env=environment)
    sh([*pip, "--no-build-isolation", pins["CLIP_PACKAGE"], pins["OPENCLIP_PACKAGE"]], env=environment)
    launch = [str(hand.python), "launch.py", "--exit", "--skip-torch-cuda-test", "--no-download-sd-model"]
    sh(launch, env=environment, cwd=hand.webui)
    return time.monotonic() - started, hand.packages()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--vars", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--serve", action="store_true", help="start the WebUI too, and run the site a second time")
    options.add_argument(
        "--dir", type=Path, default=None, help="where the boxes are made (15 GB); default: the temporary directory"
    )
    chosen = options.parse_args()
    given = yaml.safe_load(chosen.vars.read_text())
    results = []
    for number in range(1, chosen.rounds + 1):
        work = Path(tempfile.mkdtemp(prefix="sdops-bench-", dir=chosen.dir))
        ours = Box(work / "ours", {**given, **Box.places(work / "ours")})
        try:
            print(f"round {number}: the roles ...", flush=True)
            seconds = ours.playbook("--tags", "base,conda_env,sd_webui")
            print(f"round {number}: {seconds:.0f} s; by hand ...", flush=True)
            hand_seconds, hand_packages = by_hand(work / "hand", ours)
            print(f"round {number}: {hand_seconds:.0f} s", flush=True)
            results.append(
                {
                    "case": "install",
                    "round": number,
                    "ours_s": round(seconds, 1),
                    "by_hand_s": round(hand_seconds, 1),
                    "ratio": round(seconds / hand_seconds, 3),
                    "same_packages": ours.packages() == hand_packages,
                    "difference": sorted(set(ours.packages()) ^ set(hand_packages)),
                    **(ours.serve() if chosen.serve else {}),
                }
            )
        finally:
            ours.end()
            shutil.rmtree(work, ignore_errors=True)
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

"""The collection's roles on this machine, below one directory, with sources of the real WebUI that are at hand.

The variables for the playbook name the sources: where the WebUI, its sub-repositories and CLIP lie (``sdops_github``,
``sd_webui_repositories``, ``sd_webui_clip_package``) and the conda channel.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml

from helpers.paths import BIN, ROOT


def sh(command: list[str], **options: object) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


class Installation:
    """A directory in the place of a host: everything of the collection lies below it."""

    def __init__(self, base: Path, given: dict[str, object]) -> None:
        self.base = base
        self.given = given
        for folder in ("home", "profile.d"):
            (base / folder).mkdir(parents=True)
        (base / "vars.yml").write_text(yaml.safe_dump(self.given))
        host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        (base / "hosts.yml").write_text(yaml.safe_dump({"webui": {"hosts": {"local": host}}}))
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
        """Run site.yml; its seconds. ``output`` is what it printed."""
        command = [str(BIN / "ansible-playbook"), "-i", str(self.base / "hosts.yml"), "-e", f"@{self.base}/vars.yml"]
        started = time.monotonic()
        self.output = sh([*command, str(ROOT / "playbooks/site.yml"), *arguments], cwd=ROOT)
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
        requested = urllib.request.Request(f"{here}/internal/sysinfo", headers={"Authorization": basic})
        version = json.loads(opener.open(requested, timeout=60).read()).get("Version")
        self.playbook()
        changed = re.search(r"\bchanged=(\d+)", self.output)
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

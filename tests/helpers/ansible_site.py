"""ansible-playbook from the checkout, against directories of a test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.paths import BIN, ROOT


class Site:
    """One throw-away "host": this machine with every directory below ``base``."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.variables = {
            "sdops_home": f"{base}/home",
            "sdops_data_dir": f"{base}/data",
            "sdops_boot_hook": f"{base}/boot.sh",
            "sdops_profile_dir": f"{base}/profile.d",
            "sdops_user_home": f"{base}/user",
            "sdops_gitconfig": f"{base}/user/.gitconfig",
            "sdops_artifacts_dir": f"{base}/artifacts",
            "sdops_manage_packages": "false",
            "ansible_python_interpreter": sys.executable,
        }

    def play(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """Run site.yml (or what ``arguments`` names first, when it ends in .yml) with ``variables`` on top."""
        playbook = ROOT / "playbooks" / "site.yml"
        if arguments and arguments[0].endswith(".yml"):
            playbook, arguments = Path(arguments[0]), arguments[1:]
        given = {**self.variables, **variables}
        extra = [f"-e{k}={v}" if isinstance(v, str) else f"-e{json.dumps({k: v})}" for k, v in given.items()]
        inventory = self.base / "hosts.yml"
        inventory.write_text("webui:\n  hosts:\n    box:\n      ansible_connection: local\n")
        return subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(inventory), str(playbook), *extra, *arguments],
            env=ansible_environment(),
            cwd=self.base,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def set_host_interpreter(self, path: str) -> None:
        """As the inventory does for its host: the roles choose another one later, which ``-e`` does not let them."""
        del self.variables["ansible_python_interpreter"]
        (self.base / "host_vars").mkdir()
        (self.base / "host_vars/box.yml").write_text(f"ansible_python_interpreter: {path}\n")

    def files(self) -> list[str]:
        """Everything below the base directory but the inventory itself."""
        return sorted(str(p.relative_to(self.base)) for p in self.base.rglob("*") if p.name != "hosts.yml")


def ansible_environment(collections: Path | None = None) -> dict[str, str]:
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(ROOT / ".work" / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections or ROOT / ".work" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        # what tests look for is in it
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }

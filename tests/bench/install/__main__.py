"""The roles and the tutorial's commands typed by hand, side by side: from an empty directory to ``launch.py --exit``.

    python tests/bench/install --vars FILE [--rounds 1] [--serve]

FILE holds variables for the playbook, as YAML: see tests/helpers/webui_installation.py. Both sides use the same ones, the same package
index, the same constraints and a cache of their own that is empty at the start. By hand, the environment is made before the
clock starts, and what is broken today is put right at once, as if the reader knew: so it gets the better of each doubt.

``--serve`` goes on with the whole site: the WebUI is started and asked, and a second run has to change nothing.

The last lines are JSON: ``{"case": "install", "round": 1, "ours_s": .., "by_hand_s": .., "ratio": .., "same_packages": true}``, with
``--serve`` also ``"ready_s"`` (of the rest of the site), ``"version"`` and ``"second_run_changed"``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.paths import BIN  # noqa: E402
from helpers.webui_installation import Installation, sh  # noqa: E402


def by_hand(base: Path, installation: Installation) -> tuple[float, list[str]]:
    """The tutorial's commands in a second directory; seconds and packages."""
    hand = Installation(base, {**installation.given, **Installation.places(base)})
    try:
        hand.playbook("--tags", "base,conda_env")  # the environment is a present
    finally:
        hand.end()
    pins = json.loads((installation.base / "sdops/webui/environment.json").read_text())
    pins["PIP_CONSTRAINT"] = str(installation.base / "sdops/webui/constraints.txt")
    index = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
    environment = {
        **pins,
        **index,
        "PATH": f"{hand.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{base}/home",
    }
    environment["PIP_CACHE_DIR"] = f"{base}/pip-cache"
    repo = sh(["git", "-C", str(installation.webui), "remote", "get-url", "origin"]).strip()
    commit = sh(["git", "-C", str(installation.webui), "rev-parse", "HEAD"]).strip()
    pip = [str(hand.python), "-m", "pip", "install", "--disable-pip-version-check"]
    # conda brings pip with Python; the lab's channel does not
    sh([str(BIN / "python"), "-m", "pip", "--python", str(hand.python), "install", "--quiet", "pip"])
    started = time.monotonic()
    sh(["git", "clone", "--quiet", repo, str(hand.webui)], env=environment)
    sh(
        ["git", "-C", str(hand.webui), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
        env=environment,
    )
    sh([*pip, "pip==24.0", "setuptools==69.5.1", "wheel==0.45.1"], env=environment)
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
        installation = Installation(work / "ours", {**given, **Installation.places(work / "ours")})
        try:
            print(f"round {number}: the roles ...", flush=True)
            seconds = installation.playbook("--tags", "base,conda_env,sd_webui")
            print(f"round {number}: {seconds:.0f} s; by hand ...", flush=True)
            hand_seconds, hand_packages = by_hand(work / "hand", installation)
            print(f"round {number}: {hand_seconds:.0f} s", flush=True)
            packages = set(installation.packages())
            results.append(
                {
                    "case": "install",
                    "round": number,
                    "ours_s": round(seconds, 1),
                    "by_hand_s": round(hand_seconds, 1),
                    "ratio": round(seconds / hand_seconds, 3),
                    "same_packages": packages == set(hand_packages),
                    "only_ours": sorted(packages - set(hand_packages)),
                    "only_by_hand": sorted(set(hand_packages) - packages),
                    **(installation.serve() if chosen.serve else {}),
                }
            )
        finally:
            installation.end()
            shutil.rmtree(work, ignore_errors=True)
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

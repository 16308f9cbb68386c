"""Installer of the adetailer fake, run by the WebUI at every start: installs what requirements.txt names when it is missing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def missing():
    """The requirements (NAME>=NUMBER) that this environment does not meet."""
    unmet = []
    with open(os.path.join(HERE, "requirements.txt")) as file:
        for line in file.read().split():
            name, _, least = line.partition(">=")
            try:
                major = int(re.match(r"\d+", importlib.metadata.version(name)).group())
                if major >= int(least):
                    continue
            except importlib.metadata.PackageNotFoundError:
                pass
            unmet.append(line)
    return unmet


if __name__ == "__main__":
    lines = missing()
    if lines:
        print(f"adetailer (sdops lab fake): installing {', '.join(lines)}")
        subprocess.run([sys.executable, "-m", "pip", "install", *lines], check=True)

"""All of the lab's content in one go, from lab/fakes/manifest.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import FAKES, Builder, BuildError, ca, conda, models, repositories, wheels, xray


def build_all(
    work: Path,
    python_root: Path | None,
    interpreter: str,
    shebang: str,
    launcher_python: str,
    fakes: Path | None = None,
    tarball: bool = False,
) -> dict[str, Any]:
    """Everything below ``work``; returns the summary. ``tarball``: a Python for hosts without one too. Raises BuildError."""
    fakes = fakes or FAKES
    manifest_file = fakes / "manifest.json"
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BuildError(f"The list of fakes {manifest_file} cannot be read: {exc}") from exc
    # a bare list, or {"repositories": [...], "zips": [...], "wheels": [...]}: zips are repositories whose archive is used
    if isinstance(manifest, list):
        manifest = {"repositories": manifest}
    trees = [*manifest.get("repositories", []), *manifest.get("zips", [])]
    builder = Builder(work)
    python = conda.Interpreter.of_root(python_root) if python_root else conda.Interpreter.of_program(interpreter)
    certificates = ca.build(builder)
    git = repositories.build(builder, trees, fakes)
    packages = wheels.build(builder, manifest.get("wheels", []), fakes)
    packages.update(wheels.build_sdists(builder, manifest.get("sdists", []), fakes))
    hub = models.build_hub(builder)
    civitai = models.build_civitai(builder)
    core = xray.build(builder, shebang, launcher_python)
    channel = conda.build(builder, python)
    return {
        "work": str(work),
        "root": str(builder.content),
        "ca": certificates,
        "commits": git["commits"],
        "tags": git["tags"],
        "wheels": packages,
        "huggingface": hub,
        "civitai": civitai,
        "tokens": {"huggingface": sorted(models.HUB_TOKENS), "civitai": sorted(models.CIVITAI_TOKENS)},
        "xray": core,
        "python": channel["python"],
        "conda": channel,
        "tarball": conda.build_tarball(builder, python) if tarball else None,
    }

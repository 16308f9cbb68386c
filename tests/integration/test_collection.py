"""The tarball holds the collection and nothing of the workshop, a playbook can use it once installed, and a release is reproducible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, ROOT

from plugins.module_utils.extensions.catalog import CATALOG
from plugins.module_utils.webui_versions import WEBUI_VERSIONS


@pytest.fixture(scope="module")
def tarball(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build-collection"), str(out)],
        check=True,
        capture_output=True,
        text=True,
        env=ansible_environment(),
    )
    return Path(built.stdout.strip())


def test_tarball_has_no_workshop(tarball):
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    tops = {name.split("/")[0] for name in names}
    assert not tops & {
        "lab",
        "tests",
        "molecule",
        "Makefile",
        ".work",
        ".git",
        ".ci",
        ".github",
        ".editorconfig",
        ".pre-commit-config.yaml",
        "artifacts",
        "requirements",
        "tools",
    }
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]
    assert {"plugins", "roles", "playbooks", "meta", "docs", "README.md", "LICENSE"} <= tops


def test_installed_collection_runs_a_playbook(tarball, tmp_path):
    collections = tmp_path / "collections"
    environment = ansible_environment(collections)
    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "install", str(tarball), "-p", str(collections)],
        check=True,
        capture_output=True,
        env=environment,
        cwd=tmp_path,
    )
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [
                {"name": "Look", "sdops.webui.gpu_facts": {"nvidia_smi": "/nonexistent/nvidia-smi"}, "register": "gpu"},
                {"name": "Tell", "ansible.builtin.assert": {"that": "not gpu.ansible_facts.sdops_gpu.present"}},
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}"]
    for arguments in (["play.yml"], ["--syntax-check", "sdops.webui.site"], ["--syntax-check", "sdops.webui.status"]):
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr


def copy_of_sources(original: Path, target: Path, *, reverse: bool, seconds: int, mask: int) -> Path:
    """A repository with the files of another that git does not ignore, made in another order, at another time and under another mask."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=original,
        check=True,
        capture_output=True,
    ).stdout
    for name in sorted(filter(None, listed.decode().split("\0")), reverse=reverse):
        source, copy = original / name, target / name
        if not source.is_file():
            continue  # deleted, and not committed yet
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
        copy.chmod((0o777 if os.access(source, os.X_OK) else 0o666) & ~mask)
        os.utime(copy, (seconds, seconds))
    identity = {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    identity.update(GIT_AUTHOR_DATE="1700000000 +0000", GIT_COMMITTER_DATE="1700000000 +0000")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "sources"]):
        subprocess.run(["git", *command], cwd=target, check=True, env={**os.environ, **identity})
    return target


def build(repository: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "tools" / "build-collection"), *options, str(output)]
    return subprocess.run(command, capture_output=True, text=True, env=ansible_environment())


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> list[Path]:
    """The directories of two releases from copies of one tree."""
    outputs, original = [], ROOT
    for reverse, seconds, mask in ((False, 1_500_000_000, 0o022), (True, 1_600_000_001, 0o077)):
        base = tmp_path_factory.mktemp("release")
        # the second is a copy of the first, so that nobody's edits come between them
        original = copy_of_sources(original, base / "sources", reverse=reverse, seconds=seconds, mask=mask)
        done = build(original, base / "out", "--release")
        assert done.returncode == 0, done.stderr
        outputs.append(base / "out")
    return outputs


def test_two_releases_are_equal_byte_for_byte(releases):
    first, second = ({path.name: path.read_bytes() for path in output.iterdir()} for output in releases)
    assert sorted(first) == [f"sdops-webui-0.1.0{end}" for end in (".cdx.json", ".tar.gz", ".tar.gz.sha256")]
    assert first == second
    # what the working tree gives is the same as long as it is what was committed
    repository = releases[1].parent / "sources"
    built = build(repository, releases[1].parent / "working-tree")
    assert Path(built.stdout.strip()).read_bytes() == second["sdops-webui-0.1.0.tar.gz"]


def test_what_lies_about_is_not_packed(tmp_path):
    """Only new files where the collection has its own: README has people write a vault and an inventory."""
    sources = copy_of_sources(ROOT, tmp_path / "sources", reverse=False, seconds=1_500_000_000, mask=0o022)
    ours = "plugins/modules/new_module.py"
    theirs = ("vault.yml", "my-box/hosts.yml", "my-box/artifacts/box/webui-credentials", ".venv/pyvenv.cfg")
    for name in (ours, *theirs):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text("x")
    built = build(sources, tmp_path / "out")
    assert built.returncode == 0, built.stderr
    with tarfile.open(built.stdout.strip()) as archive:
        names = set(archive.getnames())
    assert ours in names and not names & set(theirs)


def test_release_holds_no_time_or_owner_of_its_builder(releases):
    with tarfile.open(releases[1] / "sdops-webui-0.1.0.tar.gz") as archive:
        members = archive.getmembers()
    assert {member.mtime for member in members} == {1700000000}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {member.mode for member in members} == {0o644, 0o755}
    subprocess.run(["sha256sum", "-c", "--strict", "sdops-webui-0.1.0.tar.gz.sha256"], cwd=releases[1], check=True)


def test_uncommitted_changes_are_not_released(releases):
    repository = releases[0].parent / "sources"
    (repository / "roles" / "base" / "tasks" / "new.yml").write_text("---\n[]\n")
    done = build(repository, releases[0].parent / "refused", "--release")
    assert done.returncode == 1 and "new.yml" in done.stderr
    assert not list((releases[0].parent / "refused").iterdir())


def test_sbom_follows_the_schema_and_names_every_pin(releases):
    text = (releases[0] / "sdops-webui-0.1.0.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    bom = json.loads(text)
    tarball = (releases[0] / "sdops-webui-0.1.0.tar.gz").read_bytes()
    collection = bom["metadata"]["component"]
    assert collection["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(tarball).hexdigest()}]
    versions = {(component["name"].lower(), component["version"]) for component in bom["components"]}
    lock = (ROOT / "roles" / "base" / "files" / "toolbox-requirements.txt").read_text()
    assert set(re.findall(r"(?m)^([\w.-]+)==(\S+)", lock)) <= versions
    pinned = {(row.repository.lower(), row.commit) for row in [*WEBUI_VERSIONS.values(), *CATALOG.values()]}
    assert pinned <= versions
    # every hash that the collection pins of a download
    tables = [
        "plugins/module_utils/webui_versions.py",
        "plugins/module_utils/models/catalog.py",
        *(
            f"roles/{name}.yml"
            for name in ("sdops/defaults/main", "xformers_build/defaults/main", "xray_proxy/vars/main")
        ),
    ]
    hashes = {digest for path in tables for digest in re.findall(r"\b[0-9a-f]{64}\b", (ROOT / path).read_text())}
    known = {each["content"] for component in bom["components"] for each in component.get("hashes", [])}
    assert hashes - known == set()
    [dependency] = [entry for entry in bom["dependencies"] if entry["ref"] == collection["bom-ref"]]
    assert set(dependency["dependsOn"]) == {component["bom-ref"] for component in bom["components"]}

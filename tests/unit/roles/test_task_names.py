"""Names of tasks say what they do, and stand once in a role: --start-at-task and a reader of the output need that."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml
from helpers.paths import ROOT

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
MOLECULE = sorted(path for path in (ROOT / "molecule").rglob("*.yml") if path.name != "molecule.yml")
PRONOUNS = re.compile(
    r"\b(it|its|itself|they|them|their|theirs|themselves|we|us|our|ours|you|your|i|my|mine|he|him|his|she|her|hers|one|ones"
    r"|these|those|who|whom|whose|what|which|some(body|one|thing)|any(body|one|thing)|every(body|one|thing)"
    r"|no(body|thing)|else)\b",
    re.IGNORECASE,
)


class Loader(yaml.SafeLoader):
    """Takes !vault and !unsafe as text."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def tasks(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        for part in ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks", "handlers"):
            yield from tasks(entry.get(part) or [])


def names(path: Path) -> list[str]:
    found = [task.get("name") for task in tasks(yaml.load(path.read_text(), Loader))]
    assert all(found), f"{path} has a task without a name"
    return found


def of_role(role: str) -> list[str]:
    return [name for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")) for name in names(path)]


@pytest.mark.parametrize("role", ROLES)
def test_a_name_stands_once_in_a_role(role: str) -> None:
    assert [name for name, times in Counter(of_role(role)).items() if times > 1] == []


@pytest.mark.parametrize("role", ROLES)
def test_names_of_a_role_have_no_pronoun(role: str) -> None:
    assert [name for name in of_role(role) if PRONOUNS.search(name)] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_names_of_a_playbook_have_no_pronoun(playbook: Path) -> None:
    assert [name for name in names(playbook) if PRONOUNS.search(name)] == []


@pytest.mark.parametrize("path", MOLECULE, ids=lambda path: str(path.relative_to(ROOT / "molecule")))
def test_names_in_molecule_have_no_pronoun_and_stand_once_in_a_file(path: Path) -> None:
    found = names(path)
    assert [name for name in found if PRONOUNS.search(name)] == []
    assert [name for name, times in Counter(found).items() if times > 1] == []


@pytest.mark.parametrize(
    "name", ["Keep it", "Look who has the port", "Its attention", "Stop where there is such a one"]
)
def test_pronouns_are_found(name: str) -> None:
    assert PRONOUNS.search(name)


def test_roles_and_playbooks_have_no_jinja_statements() -> None:
    """Logic that needs loops is a filter with tests of its own."""
    files = [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    assert len(files) > 60 and [str(path) for path in files if "{%" in path.read_text()] == []


@pytest.mark.parametrize("role", ROLES)
def test_arguments_are_no_template_as_a_whole(role: str) -> None:
    """Of such Ansible warns in each run where inject_facts_as_vars has its default."""
    whole = [
        task["name"]
        for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml"))
        for task in tasks(yaml.load(path.read_text(), Loader))
        for module, arguments in task.items()
        if "." in module and isinstance(arguments, str) and re.fullmatch(r"\s*\{\{.*\}\}\s*", arguments, re.DOTALL)
    ]
    assert whole == []

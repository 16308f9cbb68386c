"""What the layout promises, read from the source: sizes, names that stand once, and imports that go one way."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import Iterator

import pytest
from helpers.paths import ROOT

PLUGINS = ROOT / "plugins"
COLLECTION = "ansible_collections.sdops.webui."
FILES = {path: ast.parse(path.read_text()) for path in sorted(PLUGINS.rglob("*.py"))}
LAB = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "lab").rglob("*.py"))}

MAX_FILE, MAX_CLASS, MAX_FUNCTION = 450, 250, 80  # lines
# what Ansible looks for in a plugin
ENTRY_POINTS = {
    "DOCUMENTATION",
    "EXAMPLES",
    "RETURN",
    "main",
    "ActionModule",
    "FilterModule",
    "LookupModule",
    "ModuleDocFragment",
}
# beneath all packages of module_utils, and beneath transfer
FOUNDATION = {"errors", "filesystem", "process", "procfs", "secrets", "terminal", "urls"}


def location(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def dotted(path: Path) -> str:
    """``plugins/module_utils/git/pin.py`` -> ``plugins.module_utils.git.pin``; a package by its directory."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, tree: ast.AST, known: set[str]) -> set[str]:
    """Those of ``known`` that a file imports, anywhere in it but for type checkers."""
    found: set[str] = set()
    package = dotted(path).split(".") if path.name == "__init__.py" else dotted(path).split(".")[:-1]
    unrun = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
    }
    for node in ast.walk(tree):
        if node in unrun:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.removeprefix(COLLECTION) for name in names} & known
    return found - {dotted(path)}


def graph(files: dict[Path, ast.AST]) -> dict[str, set[str]]:
    known = {dotted(path) for path in files}
    return {dotted(path): imported(path, tree, known) for path, tree in files.items()}


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """The names along one cycle; [] when there is none."""
    finished: set[str] = set()

    def visit(name: str, stack: list[str]) -> list[str]:
        if name in stack:
            return [*stack[stack.index(name) :], name]
        if name in finished:
            return []
        for other in sorted(edges.get(name, ())):
            found = visit(other, [*stack, name])
            if found:
                return found
        finished.add(name)
        return []

    return next((found for name in sorted(edges) for found in [visit(name, [])] if found), [])


def top_level_names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, (ast.Try, ast.If)):
            inner = [*node.body, *node.orelse, *(node.finalbody if isinstance(node, ast.Try) else [])]
            yield from top_level_names(inner)


def package_of(name: str) -> str:
    """``plugins.module_utils.git.pin`` -> ``git``, ``plugins.module_utils.urls`` -> ``urls``, else the kind of plugin."""
    parts = name.split(".")
    return parts[2] if parts[1] == "module_utils" and len(parts) > 2 else parts[1]


def test_files_are_short():
    found = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in found.items() if lines > MAX_FILE} == {}


@pytest.mark.parametrize(("kind", "limit"), [(ast.ClassDef, MAX_CLASS), (ast.FunctionDef, MAX_FUNCTION)])
def test_classes_and_functions_are_short(kind, limit):
    nodes = [(path, node) for path, tree in FILES.items() for node in ast.walk(tree) if isinstance(node, kind)]
    assert {location(path, node): length(node) for path, node in nodes if length(node) > limit} == {}


def test_a_public_name_stands_once():
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in FILES.items():
        for name in set(top_level_names(tree.body)):
            if not name.startswith("_") and name not in ENTRY_POINTS:
                places[name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("files", [FILES, LAB], ids=["plugins", "lab"])
def test_imports_have_no_cycle(files):
    assert cycle(graph(files)) == []


def test_packages_have_no_cycle():
    edges: dict[str, set[str]] = defaultdict(set)
    for name, others in graph(FILES).items():
        edges[package_of(name)] |= {package_of(other) for other in others} - {package_of(name)}
    assert cycle(edges) == []


def test_nothing_imports_upwards():
    wrong = []
    for name, others in graph(FILES).items():
        own = package_of(name)
        for other in others:
            theirs = package_of(other)
            below = name.startswith("plugins.module_utils")
            if (
                other.startswith("plugins.modules")
                or (below and not other.startswith("plugins.module_utils"))
                or (own == "transfer" and theirs not in FOUNDATION | {"transfer"})
                or (own in FOUNDATION and theirs not in FOUNDATION)
            ):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_only_modules_know_ansible_module():
    known = {"ansible.module_utils.basic"}
    assert [
        str(path) for path, tree in FILES.items() if path.parent.name != "modules" and imported(path, tree, known)
    ] == []


def test_tests_mirror_the_plugins():
    """A directory below tests/unit/plugins is one of plugins, or that of a module; helpers are imported, never found by a path."""
    below = ROOT / "tests" / "unit" / "plugins"
    directories = {path.relative_to(below) for path in below.rglob("test_*.py") for path in [path.parent]}
    assert len(directories) > 15
    assert [
        str(d) for d in directories if not (PLUGINS / d).is_dir() and not (PLUGINS / d).with_suffix(".py").is_file()
    ] == []
    tests = [path for path in (ROOT / "tests").rglob("*.py") if "bench" not in path.parts]
    hacks = [
        path for path in tests for node in ast.parse(path.read_text()).body if ast.unparse(node).startswith("sys.path")
    ]
    assert [str(path) for path in hacks] == []

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes templates cheap: each is compiled once and not in each process, and a variable is worked out once for many of them.

Ansible compiles each template and condition anew in the process of each task: hundreds of them, a third of the controller's CPU.
"""

from __future__ import annotations

import functools
import hashlib
import marshal
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.environment import Environment, TemplateExpression

from ..module_utils.errors import SdopsError
from ..module_utils.filesystem import write_atomic
from .packed_modules import COLLECTION_DIR

try:  # private parts of ansible-core 2.19 to 2.22: where they are others, everything is as it ever was
    from ansible._internal._datatag._tags import Origin
    from ansible._internal._templating import _jinja_bits
    from ansible._internal._templating._engine import TemplateOptions
    from ansible._internal._templating._jinja_common import _TemplateConfig
    from ansible._internal._templating._lazy_containers import _AnsibleLazyTemplateMixin
    from ansible._internal._templating._utils import TemplateContext
except ImportError:
    _jinja_bits = None

DIGEST_SIZE = hashlib.sha256().digest_size
# the code, and what the filters and tests in it are handed, by kind and name
Kept = tuple[CodeType, dict[tuple[str, str], str]]
# of this process, and of those that it starts
COMPILED: dict[Path, Kept] = {}


def remember_values(engine: Any) -> Any:
    """A copy of ``engine``, a Templar, that works out each of its variables once, and not once for each template that names it.

    Its ``available_variables`` are worked out when they are read; those of ``engine`` are the templates.
    """
    if not _jinja_bits or not hasattr(engine, "_engine"):
        return engine
    copy = engine.copy_with_new_env(available_variables=engine.available_variables)
    with TemplateContext(
        template_value="", templar=copy._engine, options=TemplateOptions.DEFAULT, stop_on_template=False
    ):
        copy.available_variables = _AnsibleLazyTemplateMixin._try_create(dict(engine.available_variables))
    return copy


def reuse_compiled_templates(directory: Path) -> None:
    """Keep compiled templates in ``directory``, a private one, and take them from there. For the main process, before it forks.

    Only texts that stand in a role or a playbook of this collection are kept: one of a user may hold a secret.
    """
    if not _jinja_bits:
        return
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return
    environment = _jinja_bits.AnsibleEnvironment
    compile_template, compile_expression = environment.from_string, environment.compile_expression

    def from_string(self: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
        path = None if args or kwargs else _kept_path(directory, self, "template", source)
        code = path and _compiled(self, path, lambda: compile_template(self, source))
        return _load(self, code) if code else compile_template(self, source, *args, **kwargs)

    def from_expression(self: Any, source: str, undefined_to_none: bool = True) -> Any:
        path = _kept_path(directory, self, "expression", source)
        code = path and _compiled(self, path, lambda: compile_expression(self, source))
        if not code:
            return compile_expression(self, source, undefined_to_none)
        return TemplateExpression(_load(self, code), undefined_to_none)

    environment.from_string, environment.compile_expression = from_string, from_expression


def _load(environment: Environment, code: CodeType) -> Any:
    return environment.template_class.from_code(environment, code, environment.make_globals(None), None)


def _kept_path(directory: Path, environment: Any, kind: str, source: Any) -> Path | None:
    """The file for a template; its name says all that its code is made of. None for one that is not kept."""
    origin = Origin.get_tag(source) if isinstance(source, str) else None
    if not origin or not origin.path or not _is_own_directory(os.path.dirname(origin.path)):
        return None
    context = _jinja_bits._TemplateCompileContext.current(optional=True)
    settings = (
        kind,
        context and context.escape_backslashes,
        [getattr(environment, name) for name in _jinja_bits._TEMPLATE_OVERRIDE_FIELD_NAMES],
        sorted(environment.extensions),
        _TemplateConfig.allow_embedded_templates,
        str(source),
    )
    return directory / hashlib.sha256(repr(settings).encode()).hexdigest()


@functools.lru_cache(maxsize=None)
def _is_own_directory(directory: str) -> bool:
    path = Path(directory).resolve()
    return path == COLLECTION_DIR / "playbooks" or COLLECTION_DIR / "roles" in path.parents


def _compiled(environment: Any, path: Path, make: Callable[[], object]) -> CodeType | None:
    """The code for ``path``, which ``make`` makes ``environment`` compile unless it is kept. None where the template has a mistake."""
    kept = COMPILED.get(path) or _read(path)
    if not kept or kept[1] != _passed_arguments(environment, kept[1]):
        kept = _record(environment, make)
        if kept:
            _write(path, kept)
    if not kept:
        return None
    COMPILED[path] = kept
    return kept[0]


def _record(environment: Any, make: Callable[[], object]) -> Kept | None:
    recorded: list[Kept] = []

    def compile_source(source: Any, *args: Any, **kwargs: Any) -> CodeType:
        tree = source if isinstance(source, nodes.Template) else environment.parse(source)
        kinds = (("filters", nodes.Filter), ("tests", nodes.Test))
        plugins = sorted({(kind, node.name) for kind, of in kinds for node in tree.find_all(of)})
        code: CodeType = type(environment).compile(environment, tree, *args, **kwargs)
        recorded.append((code, _passed_arguments(environment, plugins)))
        return code

    environment.compile = compile_source
    try:
        make()
    except TemplateError:  # Ansible says which, when it compiles the template itself
        return None
    finally:
        del environment.compile
    return recorded[0] if recorded else None


def _passed_arguments(environment: Any, plugins: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What Jinja hands to each of the filters and tests beside its arguments; the code depends on it, and a user may have others."""
    found = {}
    for kind, name in plugins:
        try:
            plugin = getattr(environment, kind)[name]
        except KeyError:
            plugin = None
        found[kind, name] = str(getattr(plugin, "jinja_pass_arg", ""))
    return found


def _read(path: Path) -> Any:
    """What ``_write`` has written; None where nothing is, or less than all, as after a power cut."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content = data[DIGEST_SIZE:]
    return marshal.loads(content) if hashlib.sha256(content).digest() == data[:DIGEST_SIZE] else None


def _write(path: Path, kept: Kept) -> None:
    content = marshal.dumps(kept)
    try:
        write_atomic(str(path), hashlib.sha256(content).digest() + content, 0o600, durable=False)
    except (OSError, SdopsError):
        pass  # each process compiles its own

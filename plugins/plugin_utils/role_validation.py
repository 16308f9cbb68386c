# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables of roles and with their host, all of it at once.

The variables are checked on the controller: argument specifications, and what types cannot say. What depends on the host is in
three variables of each role (``vars/main.yml``):

``__ROLE_host_state``: what the role needs to know of the host, as options of the module host_state_info.
``__ROLE_errors``, ``__ROLE_warnings``: rules, each a mapping with ``when`` (one condition or a list of them that must all hold, as
of a task) and ``msg``, whose lines are sentences of their own. A condition that cannot be evaluated is a mistake with the message of its exception.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils.terminal import printable
from ..module_utils.urls import redact_malformed
from ..module_utils.variables.cross_variable import cross_variable_errors, model_entry_errors
from ..module_utils.variables.rules import SECRET_NAMES
from ..module_utils.variables.validation import stripped_values, unstripped_error, value_errors
from .role_options import role_options
from .templating import remember_values
from .variable_names import readable_text

# what the rules of other roles need to know
CROSS_ROLE_VARIABLES = ("sd_webui_version",)
# variables that hold all others: what is named behind them is not known
EVERYTHING = {"vars", "hostvars"}
# every role depends on the role with the shared variables
SHARED_ROLE = "sdops"
# the oldest ansible-core that the roles work with, as in meta/runtime.yml
OLDEST_CORE = (2, 19)


class TemplateEngine(Protocol):
    """The part of Ansible's Templar that is needed here, with the variables of one host."""

    available_variables: Any

    def template(self, variable: Any) -> Any: ...

    def evaluate_conditional(self, conditional: str | bool) -> bool: ...

    def copy_with_new_env(self, *, available_variables: Any) -> TemplateEngine: ...


class VariableCheck(NamedTuple):
    """``errors``: sentences. ``stripped``: values by name that lose the white space around them, secrets too. ``values``: all by name.

    ``model_problems``: sentences about models, which alone do not stop the others.
    """

    errors: list[str]
    stripped: dict[str, Any]
    values: dict[str, Any]
    model_problems: list[str]

    def message(self, errors: list[str]) -> str:
        """``errors``, one a line, and what is wrong with models besides."""
        return "\n".join(dict.fromkeys([*errors, *self.model_problems]))


class RuleResults(NamedTuple):
    """Sentences of the rules that apply."""

    errors: list[str]
    warnings: list[str]


def old_core_error(version: str) -> str:
    """A sentence where ``version`` of ansible-core is older than what the roles' templates are written for, else ""."""
    if tuple(map(int, version.split(".")[:2])) >= OLDEST_CORE:
        return ""
    oldest = ".".join(map(str, OLDEST_CORE))
    return (
        f"This is ansible-core {version}, and the collection needs {oldest} or newer. Install it with: {sys.executable} -m pip install "
        f"--upgrade 'ansible-core>={oldest}' (which needs Python 3.11 or newer on this machine)."
    )


def root_cause(exc: BaseException) -> str:
    """The sentence at the end of a chain of template errors."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return printable(str(getattr(exc, "message", None) or exc).strip())


def template_words(name: str, variables: Mapping[str, Any]) -> set[str]:
    """The words in the templates behind a variable name, directly or through other variables."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        text = readable_text(variables.get(waiting.pop(), ""))
        words = set(re.findall(r"\w+", text)) if "{{" in text or "{%" in text else set()
        waiting.extend(word for word in words - found - EVERYTHING if word in variables)
        found |= words
    return found


def referenced_variables(name: str, variables: Mapping[str, Any]) -> set[str]:
    """The variables that the templates behind a variable name, directly or through others."""
    return {word for word in template_words(name, variables) if word in variables} - {name}


def vault_error(name: str, variables: Mapping[str, Any]) -> str:
    """A sentence where the variable, or one that its templates name, is encrypted and cannot be read, else ""."""
    for source in [name, *sorted(referenced_variables(name, variables))]:
        cause = _decryption_failure(variables[source])
        if cause:
            subject = name if source == name else f"{name} is made of {source}, which"
            reason = (
                "no vault password was given"
                if "no vault secrets found" in cause
                else "no given vault password opens it"
            )
            return f"{subject} is encrypted, and {reason}. Add --ask-vault-pass or --vault-password-file, with the password that encrypted it."
    return ""


def _decryption_failure(value: Any) -> str:
    """The first exception's message of the encrypted texts in ``value``, which may be nested."""
    if isinstance(value, (Mapping, list, tuple)):
        inner = value.values() if isinstance(value, Mapping) else value
        return next((cause for cause in map(_decryption_failure, inner) if cause), "")
    try:
        str(value)
    except AnsibleError as exc:
        return root_cause(exc)
    return ""


def needs_facts(name: str, variables: Mapping[str, Any]) -> bool:
    """Whether a variable is made of facts; one of them may be a variable by itself, such as ``ansible_env``."""
    words = template_words(name, variables)
    return any(word == "ansible_facts" or (word.startswith("ansible_") and word not in variables) for word in words)


def argument_spec_errors(values: Mapping[str, Any], specs: Mapping[str, Any]) -> dict[str, str]:
    """By name, a sentence for each of ``values`` that Ansible's own check of the argument specification rejects."""
    found = {}
    for name, spec in specs.items():
        if name not in values:
            continue
        messages = ArgumentSpecValidator({name: spec}).validate({name: values[name]}).error_messages
        if messages:
            reason = "" if SECRET_NAMES.match(name) else ": " + redact_malformed("; ".join(messages)).rstrip(".")
            found[name] = printable(f"{name} does not fit its argument specification{reason}.")
    return found


def check_variables(
    roles: list[str],
    engine: TemplateEngine,
    fixed: Mapping[str, Any],
    has_facts: bool = True,
    known: Mapping[str, Any] | None = None,
) -> VariableCheck:
    """Checks the variables of ``roles`` and of the shared role; those that are not defined are left out.

    ``fixed``: variables that nothing can replace, given with -e. Without ``has_facts``, what is made of facts is left out too.
    ``known``: values that an earlier check has found to be right, which are not checked again by themselves.
    """
    known = known or {}
    specs = role_options(dict.fromkeys([SHARED_ROLE, *roles]))
    specs = {name: spec for name, spec in specs.items() if name not in known}
    if not has_facts:
        specs = {name: spec for name, spec in specs.items() if not needs_facts(name, engine.available_variables)}
    values, broken = _template_values(specs, engine)
    stripped = stripped_values(values, specs)
    replaced = {name: value for name, value in stripped.items() if name not in fixed}
    if replaced:
        # what is made of the stripped ones
        engine = engine.copy_with_new_env(available_variables={**engine.available_variables, **replaced})
        values, broken = _template_values(specs, engine)
        stripped = {**stripped_values(values, specs), **stripped}
    values.update(stripped)
    wrong = {**argument_spec_errors(values, specs), **broken, **value_errors(values, specs)}
    # what is derived from a wrong one is not reported as well, unless they are made of each other
    reported = {name: wrong[name] for name in specs if name in wrong}
    variables = engine.available_variables
    independent = [why for name, why in reported.items() if not referenced_variables(name, variables) & set(wrong)]
    errors = independent or list(reported.values())
    values = {**known, **values}
    good = {name: value for name, value in values.items() if name not in wrong}
    model_errors = model_entry_errors(good)
    errors += cross_variable_errors(good, model_errors)
    errors += [
        why for name in stripped if name in fixed for why in [unstripped_error(name)] if why and name not in wrong
    ]
    return VariableCheck(
        errors, {name: value for name, value in stripped.items() if name not in fixed}, values, model_errors
    )


def _template_values(specs: Mapping[str, Any], engine: TemplateEngine) -> tuple[dict[str, Any], dict[str, str]]:
    """``(values, sentences)`` by name, the latter of variables whose templates fail."""
    values, broken = {}, {}
    variables, engine = engine.available_variables, remember_values(engine)
    for name in [*specs, *CROSS_ROLE_VARIABLES]:
        if name not in variables:
            continue
        try:
            values[name] = engine.template(variables[name])
        except AnsibleError as exc:
            broken[name] = vault_error(name, variables) or (
                "{} cannot be worked out: {}. Correct its template.".format(name, root_cause(exc).rstrip("."))
            )
    return values, broken


def merge_host_requests(roles: list[str], engine: TemplateEngine) -> dict[str, Any]:
    """The options for one call of host_state_info that answers what all ``roles`` ask. Lists are united, other values replaced."""
    merged: dict[str, Any] = {}
    variables, engine = engine.available_variables, remember_values(engine)
    for role in roles:
        request = engine.template(variables.get(f"__{role}_host_state", {}))
        for option, value in request.items():
            if isinstance(value, list):
                value = [*merged.get(option, []), *(each for each in value if each not in merged.get(option, []))]
            merged[option] = value
    return merged


def merge_host_states(former: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """The fact about a host after a further call, which may have asked for other parts, or for other paths of a part."""
    merged = dict(former) if isinstance(former, Mapping) else {}
    for part, value in state.items():
        known = merged.get(part)
        merged[part] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def evaluate_rules(roles: list[str], engine: TemplateEngine) -> RuleResults:
    """The sentences of the roles' rules that apply, in the order of the roles."""
    results = RuleResults([], [])
    variables, engine = engine.available_variables, remember_values(engine)
    for role in roles:
        for kind, sentences in zip(RuleResults._fields, results):
            for rule in variables.get(f"__{role}_{kind}", []):
                try:
                    if _applies(rule, engine):
                        sentences.extend(map(printable, str(engine.template(rule["msg"])).strip().splitlines()))
                except AnsibleError as exc:
                    results.errors.append(root_cause(exc))
    return results


def _applies(rule: Mapping[str, Any], engine: TemplateEngine) -> bool:
    conditions = rule["when"] if isinstance(rule["when"], list) else [rule["when"]]
    return all(engine.evaluate_conditional(condition) for condition in conditions)

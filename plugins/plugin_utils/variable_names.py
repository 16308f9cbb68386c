# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that nobody reads: variables that are almost those of the collection, and tags that select nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ansible.errors import AnsibleError

from ..module_utils.extensions.catalog import CATALOG
from ..module_utils.terminal import printable

# Ansible's own: https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_tags.html
BUILTIN_TAGS = ("all", "always", "never", "tagged", "untagged")
# least similarity (difflib) of a name that is proposed for another one, and of one that is taken for a misspelling of it
SIMILAR_OPTION, SIMILAR_NAME = 0.75, 0.9
# what people call an option behind the name of any role
OPTION_WORDS = {
    "extensions": "extensions_list",
    **dict.fromkeys(
        ("checkpoint", "checkpoints", "embeddings", "lora", "loras", "model", "models", "vae"), "model_fetch_models"
    ),
}
# options that are known without their role: no other program has them
BARE_NAMES = {f"{site}_token": f"model_fetch_{site}_token" for site in ("civitai", "huggingface")}
# roles whose names are everybody's words
COMMON_ROLE_NAMES = ("base",)


def readable_text(value: Any) -> str:
    """``value`` as a text; "" for an encrypted one that no vault password opens."""
    try:
        return str(value)
    except AnsibleError:
        return ""


def role_prefix(name: str, roles: Iterable[str]) -> str:
    """``sd_webui_`` for ``sd_webui_commit``; "" for a name that begins with no role's name."""
    return next((f"{role}_" for role in sorted(roles, key=len, reverse=True) if name.startswith(f"{role}_")), "")


def similar_variables(name: str, known: Collection[str], roles: Collection[str]) -> list[str]:
    """Those of ``known`` that may be meant by ``name``, three at most.

    By their spelling, or by an option's name behind another role (``sd_webui_port``) or the first word of its own (``xray_port``).
    """
    plain = name.lower().replace("-", "_")
    if plain != name and plain in known:
        return [plain]
    same = difflib.get_close_matches(name, known, n=1, cutoff=SIMILAR_NAME)
    if same:
        return same
    prefix = role_prefix(name, roles)
    beginning, unused, option = name.partition("_")
    if not prefix:
        owners = [role for role in sorted(roles) if role.split("_")[0].rstrip("s") == beginning.rstrip("s")]
        return [f"{role}_{option}" for role in owners if option and f"{role}_{option}" in known]
    option = name[len(prefix) :]
    if OPTION_WORDS.get(option) in known:
        return [OPTION_WORDS[option]]
    elsewhere = [other for other in sorted(known) if other == role_prefix(other, roles) + option]
    if not elsewhere and not role_prefix(option, roles):
        elsewhere = similar_variables(option, known, roles)
    return elsewhere[:3] or difflib.get_close_matches(name, known, n=2, cutoff=SIMILAR_OPTION)


def given_variables(known: Collection[str], sources: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of ``known`` that one of ``sources`` (mappings of variables, all but the roles' defaults) has, sorted."""
    return sorted({name for source in sources for name in source if name in known})


def unknown_variable_errors(
    variables: Mapping[str, Any], known: Collection[str], derived: Collection[str], roles: Collection[str]
) -> list[str]:
    """A sentence for each of ``variables`` (those of the inventory, of the play and of -e) that looks as if the collection read it.

    That is a name with the prefix of one of ``roles`` that is not ``known``, or one without that is very similar to a known one. A
    variable that a template of another one names is read; those that ``sdops_extra_variables`` lists (names, or patterns with ``*``) are
    somebody else's. ``derived``: variables that the collection works out and nobody can set.
    """
    extra = variables.get("sdops_extra_variables")
    # of another type: the check of its value says so
    patterns = [readable_text(each) for each in (extra if isinstance(extra, (list, tuple)) else [extra or ""])]
    found = {}
    reserved = "or, if it is for something else, add it to sdops_extra_variables."
    for name in sorted(map(str, variables)):
        if name in known or name.startswith(("_", "ansible_")) or any(fnmatchcase(name, each) for each in patterns):
            continue
        if name in derived:
            found[name] = f"{name} is worked out from other variables and cannot be set. Take it away."
            continue
        options = _role_options(name, variables[name], known, roles)
        if options:
            found[name] = (
                f"{name} is the name of a role and no variable of it, so nothing reads it. Write {' and '.join(options)} as "
                f"{'a variable' if len(options) == 1 else 'variables'} of the inventory, {reserved}"
            )
            continue
        if BARE_NAMES.get(name) in known and BARE_NAMES[name] not in variables:
            found[name] = f"{name} is not read without the name of its role. Write {BARE_NAMES[name]}, {reserved}"
            continue
        similar = similar_variables(name, known, roles)
        if not similar and not role_prefix(name, roles):
            continue
        hint = (
            f"Did you mean {' or '.join(similar)}? Correct the name"
            if similar
            else "Correct the name (the README of each role lists its variables)"
        )
        found[name] = f"{name} is no variable of this collection, so nothing reads it. {hint}, {reserved}"
    unset = readable_text(variables.get("_raw_params", "")).split()
    read = _names_in_templates(variables) if found else set()
    sentences = [sentence for name, sentence in found.items() if name in derived or name not in read]
    if unset:
        # no more than a name: what follows may be a secret
        what = f"-e {unset[0]} ..." if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", unset[0]) else "A part of -e"
        sentences.append(
            f"{what} has no = in it, so it sets nothing. Write -e NAME=VALUE, with quotes around a value with spaces."
        )
    return [printable(sentence) for sentence in sentences]


def _role_options(name: str, value: Any, known: Collection[str], roles: Collection[str]) -> list[str]:
    """What to write in place of a variable that is called as a role and whose ``value`` is surely meant for it."""
    if name not in roles or name in COMMON_ROLE_NAMES:
        return []
    if isinstance(value, Mapping):
        return [f"{name}_{key}" for key in value if f"{name}_{key}" in known][:3]
    if not isinstance(value, (list, tuple)):
        return []
    names = [each.get("name") if isinstance(each, Mapping) else each for each in value]
    meant = name != "extensions" or any(readable_text(each).strip() in CATALOG for each in names)
    option = OPTION_WORDS.get(name) or f"{name}_models"
    return [option] if meant and option in known else []


def unknown_tag_errors(selected: Iterable[str], skipped: Iterable[str], tags: Collection[str]) -> list[str]:
    """A sentence for each tag that is none of ``tags``, which the play has: of --tags, and those of --skip-tags that look like one of them."""
    found = []
    for option, given in (("--tags", selected), ("--skip-tags", skipped)):
        for tag in dict.fromkeys(given):
            if tag in tags or tag in BUILTIN_TAGS:
                continue
            close = difflib.get_close_matches(tag, tags, n=1, cutoff=SIMILAR_OPTION)
            similar = [other for other in tags if set(_words(tag)) & set(_words(other))] or close
            if option == "--skip-tags" and not similar:
                continue  # of another play or tool: nothing is left undone for it
            hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
            rest = f"It has the tags {', '.join(tags)}." if tags else "It has no tags: leave the option away."
            found.append(printable(f"{option} {tag} selects no task of this playbook.{hint} {rest}"))
    return found


def _words(tag: str) -> list[str]:
    return [word.rstrip("s") for word in re.split(r"[^a-z0-9]+", tag.lower()) if word]


def _names_in_templates(variables: Mapping[str, Any]) -> set[str]:
    """The words in the templates of all ``variables``, without those of a variable's own one."""
    found: set[str] = set()
    for name, value in variables.items():
        text = "" if isinstance(value, (bool, int, float)) else readable_text(value)
        if "{{" in text or "{%" in text:
            found |= set(re.findall(r"\w+", text)) - {name}
    return found

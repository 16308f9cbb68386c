"""The catalog of messages: complete in both languages, chosen as gettext chooses."""

from __future__ import annotations

import gettext
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.plugin_utils.messages import LANGUAGES, MESSAGES, detect_language, message
from helpers.paths import ROOT


def fields(text: str) -> set[str]:
    return {name for _literal, name, _spec, _conversion in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", MESSAGES)
def test_every_text_has_all_languages_with_the_same_fields(key: str) -> None:
    texts = MESSAGES[key]
    assert len(texts) == len(LANGUAGES) and all(texts)
    assert len({frozenset(fields(text)) for text in texts}) == 1
    # names of variables and playbooks are not translated
    names = [set(re.findall(r"\bsdops[\w.]+|\bcpu\b", text)) for text in texts]
    assert names[0] == names[1]


def test_every_key_in_roles_and_playbooks_is_there() -> None:
    used = []
    for path in [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").glob("*.yml")]:
        # the texts before the filter, also those that a condition or mapping selects from
        parts = path.read_text().split("| sdops.webui.message(")[:-1]
        expressions = [re.split(r"\{\{|\[\(|\belse\b(?=[^']*'\w+' *$)|\+ \[", part)[-1] for part in parts]
        used += [re.findall(r"'([a-z]+_[a-z_]+)'", expression) for expression in expressions]
    assert len(used) > 5 and all(used)
    assert set().union(*used) <= set(MESSAGES)


def test_unknown_key_or_field_fails() -> None:
    with pytest.raises(KeyError):
        message("no_such_text", "en")
    with pytest.raises(KeyError, match="host"):
        message("webui_started", "en")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LANG": "zh_CN.UTF-8"},
        {"LANG": "de_DE.UTF-8"},
        {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"},
        {"LANG": "C.UTF-8", "LC_MESSAGES": "zh_TW"},
        {"LANGUAGE": "fr:zh:en", "LANG": "en_US.UTF-8"},
        {"LANGUAGE": "en:zh", "LANG": "zh_CN.UTF-8"},
        {"LANG": "", "LC_ALL": "zh_CN"},
    ],
)
def test_language_is_what_gettext_takes(environment: dict[str, str], tmp_path: Path) -> None:
    """Python's gettext is asked which of two catalogs it would open."""
    for language in LANGUAGES:
        directory = tmp_path / language / "LC_MESSAGES"
        directory.mkdir(parents=True)
        (directory / "x.mo").touch()
    code = f"import gettext; print(gettext.find('x', {str(tmp_path)!r}) or '/en/')"
    asked = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert gettext and f"/{detect_language(environment)}/" in asked

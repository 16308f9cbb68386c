"""Translations of the sentences that the documentation generators write, from a YAML file of English and Chinese pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

Translate = Callable[[str], str]


def english(text: str) -> str:
    """The text as it is."""
    return text


class Translation:
    """Translates by looking a text up, white space aside; remembers which texts it lacks and which it was never asked for.

    ``section`` of the file is a list of mappings with ``en`` and ``zh``.
    """

    def __init__(self, path: Path, section: str) -> None:
        self.path = path
        self.section = section
        self.pairs = {self._key(pair["en"]): pair["zh"].strip() for pair in yaml.safe_load(path.read_text())[section]}
        self.missing: dict[str, None] = {}
        self.used: set[str] = set()

    @staticmethod
    def _key(text: str) -> str:
        return " ".join(text.split())

    def __call__(self, text: str) -> str:
        """The Chinese text; the English one where there is none, which ``problems`` reports."""
        key = self._key(text)
        if key and key not in self.pairs:
            self.missing[key] = None
        self.used.add(key)
        return self.pairs.get(key, key)

    def problems(self) -> list[str]:
        where = f"{self.path.name}, section {self.section}"
        unused = [key for key in self.pairs if key not in self.used]
        return [
            *(f"{where}: add a translation of: {key}" for key in self.missing),
            *(f"{where}: remove the translation of a text that is gone: {key}" for key in unused),
        ]


def page_link(name: str) -> str:
    """The line under a page's title that leads to the same page in the other language."""
    if name.endswith(".zh-CN.md"):
        return f"[English]({name.replace('.zh-CN.md', '.md')})"
    return f"[中文]({name.replace('.md', '.zh-CN.md')})"

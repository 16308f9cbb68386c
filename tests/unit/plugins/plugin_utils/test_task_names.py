"""Every play and task that may be named in the output has a Chinese name, and nothing else has one."""

from __future__ import annotations

from typing import Any, Iterator

import yaml
from ansible.parsing.yaml.loader import AnsibleLoader
from ansible_collections.sdops.webui.plugins.plugin_utils.task_names import CHINESE_NAMES, display_name
from helpers.paths import ROOT

# of plays and blocks, what holds tasks
TASK_LISTS = ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always")


def names(entries: Any) -> Iterator[str]:
    for entry in entries or []:
        if "name" in entry:
            yield entry["name"]
        for key in TASK_LISTS:
            yield from names(entry.get(key))


def test_each_play_and_task_has_a_chinese_name() -> None:
    files = [
        *(ROOT / "playbooks").rglob("*.yml"),
        *(ROOT / "roles").glob("*/tasks/**/*.yml"),
        *(ROOT / "roles").glob("*/handlers/*.yml"),
    ]
    found = {name for path in files for name in names(yaml.load(path.read_text(), AnsibleLoader))}
    assert sorted(found - set(CHINESE_NAMES)) == [], "Without a translation in plugins/plugin_utils/task_names.py"
    assert sorted(set(CHINESE_NAMES) - found) == [], "No longer a name of a play or task"


def test_translations_are_chinese() -> None:
    assert [
        name for name, text in CHINESE_NAMES.items() if not any("\u4e00" <= letter <= "\u9fff" for letter in text)
    ] == []


def test_names_are_shown_without_the_role() -> None:
    assert display_name("sdops.webui.base : Run supervisord", "zh") == "运行 supervisord"
    assert display_name("sdops.webui.base : Run supervisord ", "en") == "Run supervisord"
    assert display_name("Something else", "zh") == "Something else"

"""The Chinese pages say what the English ones say, as far as a program can see: same structure, code, names, links and images."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.paths import ROOT

SITE = "https://github.com/sdops/webui/blob/main/"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
#: the readers of the tutorial need these
REQUIRED = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("automation", "downloads", "extensions", "fleet", "index", "models", "network", "troubleshooting")
    ),
    *(f"docs/quickstart/{name}.md" for name in ("autodl", "fleet", "other-clouds", "this-machine")),
    *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("roles/*/README.md"))),
]
#: languages of code blocks in which ``#`` begins a comment; comments may be translated
COMMENTED = ("console", "ini", "yaml")
MOST_ENGLISH_WORDS = 4


@dataclass
class Section:
    """What stands below one heading; ``prose`` is without code blocks and tables."""

    level: int
    title: str
    code: list[tuple[str, list[str]]] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    prose: str = ""


def chinese_twin(page: Path) -> Path:
    return page.with_name(page.name.removesuffix(".md") + ".zh-CN.md")


def spans(text: str) -> set[str]:
    """Inline code, with white space as one space: a span may go over the end of a line."""
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)}


def code_lines(language: str, body: str) -> list[str]:
    """The lines of a code block without comments, empty lines and the space that lines up comments."""
    if language in COMMENTED:
        body = re.sub(r"(?m)(^|[ \t]+)#.*$", "", body)
    return [line.rstrip() for line in body.splitlines() if line.strip()]


def parse_page(text: str) -> list[Section]:
    """The sections of a page, each with its own code blocks, tables and prose."""
    blocks: list[tuple[str, list[str]]] = []

    def keep(match: re.Match[str]) -> str:
        blocks.append((match[2], code_lines(match[2], match[3])))
        return f"\0{len(blocks) - 1}"

    text = re.sub(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$", keep, text)
    result: list[Section] = []
    in_table = False
    for line in text.splitlines():
        if heading := re.match(r"(#+) (.+)$", line):
            result.append(Section(len(heading[1]), heading[2]))
        elif line.startswith("\0"):
            result[-1].code.append(blocks[int(line[1:])])
        elif line.startswith("|"):
            if not in_table:
                result[-1].tables.append([])
            result[-1].tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        else:
            result[-1].prose += line + "\n"
        in_table = line.startswith("|")
    return result


def links(section: Section) -> list[tuple[str, str]]:
    """Targets and anchors of the links and images of a section."""
    text = "\n".join([section.prose, *(cell for table in section.tables for row in table for cell in row)])
    return [
        (path, anchor) for path, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text))
    ]


def table_sizes(section: Section) -> list[list[int]]:
    """The number of cells of each row of each table."""
    return [[len(row) for row in table] for table in section.tables]


def slug(title: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def local_path(page: Path, path: str) -> Path | None:
    """The file that a link of a page leads to, None for a link to another site."""
    if path.startswith(SITE):
        return ROOT / path[len(SITE) :]
    if re.match(r"[a-z]+:", path):
        return None
    return (page.parent / path).resolve() if path else page


def translated_link(page: Path, path: str, anchor: str) -> tuple[str, str]:
    """Where the Chinese page must lead where the English one leads to ``path#anchor``."""
    target = local_path(page, path)
    if target is None or target.suffix != ".md" or not chinese_twin(target).exists():
        return path, anchor
    if anchor:
        titles = [slug(section.title) for section in parse_page(target.read_text())]
        twin_titles = [slug(section.title) for section in parse_page(chinese_twin(target).read_text())]
        position = titles.index(anchor)
        anchor = twin_titles[position] if position < len(twin_titles) else anchor
    return re.sub(r"\.md$", ".zh-CN.md", path), anchor


def is_untranslated(text: str) -> bool:
    text = re.sub(r"\]\([^)]*\)|<[^>]*>|`[^`]*`", "]", text)
    return not CHINESE.search(text) and len(re.findall(r"\S*[A-Za-z]{2,}\S*", text)) > MOST_ENGLISH_WORDS


def comparisons(page: Path, source: Section, target: Section, at_the_top: bool) -> list[tuple[str, object, object]]:
    """What is compared of two sections: its name, what it is in English and what it is in Chinese."""
    items = re.compile(r"(?m)^ *(?:-|\d+\.) ")
    wanted = Counter(translated_link(page, *link) for link in links(source))
    actual = Counter(links(target))
    if at_the_top:  # each page leads to the other there
        for counter in (wanted, actual):
            for link in [link for link in counter if is_language_link(page, link[0])]:
                del counter[link]
    texts = [*re.split(r"\n\s*\n", target.prose), *(cell for table in target.tables for row in table for cell in row)]
    is_chinese = CHINESE.search(target.title) or re.fullmatch(r"[a-z_.-]+|AWX", source.title)
    return [
        ("heading, is it Chinese", True, bool(is_chinese)),
        ("code blocks", source.code, target.code),
        ("inline code", spans(source.prose), spans(target.prose)),
        ("list items", len(items.findall(source.prose)), len(items.findall(target.prose))),
        ("size of tables", table_sizes(source), table_sizes(target)),
        *(
            (f"inline code in the row {twin_row[0]}", [*map(spans, row)], [*map(spans, twin_row)])
            for table, twin in zip(source.tables, target.tables, strict=False)
            for row, twin_row in zip(table, twin, strict=False)
        ),
        ("links and images, missing", Counter(), wanted - actual),
        ("links and images, too many", Counter(), actual - wanted),
        ("not translated", [], [text.strip() for text in texts if is_untranslated(text)]),
    ]


def differences(page: Path, english: str, chinese: str) -> list[str]:
    """What the Chinese text of a page lacks or has too much, a sentence for each difference."""
    left, right = parse_page(english), parse_page(chinese)
    if [section.level for section in left] != [section.level for section in right]:
        return [f"headings: {[section.title for section in left]} / {[section.title for section in right]}"]
    return [
        f"section {target.title}: {what}: {wanted} / {actual}"
        for number, (source, target) in enumerate(zip(left, right, strict=True))
        for what, wanted, actual in comparisons(page, source, target, at_the_top=number == 0)
        if wanted != actual
    ]


def is_language_link(page: Path, path: str) -> bool:
    target = local_path(page, path)
    twin = chinese_twin(page)
    return target in (page, twin, chinese_twin(twin))


def test_required_pages_have_a_chinese_twin():
    assert [page for page in REQUIRED if not chinese_twin(ROOT / page).exists()] == []


def all_twins() -> list[Path]:
    return [page for pattern in ("*", "docs/**/*", "roles/*/*") for page in sorted(ROOT.glob(f"{pattern}.zh-CN.md"))]


@pytest.mark.parametrize("twin", all_twins(), ids=lambda page: str(page.relative_to(ROOT)))
def test_chinese_page_is_in_step(twin):
    page = twin.with_name(twin.name.replace(".zh-CN.md", ".md"))
    assert page.exists()
    assert differences(page, page.read_text(), twin.read_text()) == []


@pytest.mark.parametrize("twin", all_twins(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_link_to_each_other_at_the_top(twin):
    page = twin.with_name(twin.name.replace(".zh-CN.md", ".md"))
    for source, target, label in ((page, twin, "中文"), (twin, page, "English")):
        [first] = [line for line in source.read_text().splitlines()[:3] if line.startswith("[")]
        link = re.fullmatch(r"\[(.+)\]\((\S+)\)", first)
        assert link and link[1] == label
        assert local_path(source, link[2]) == target


ENGLISH_SAMPLE = """\
# Title

Text with `name_a` and [a page](network.md#auto).

- one
- two

## Part

| name | meaning |
|---|---|
| `var_a` | takes `x \\| y` |

```yaml
# what it is
key: value  # why
```

![picture](images/picture.png)
"""
CHINESE_SAMPLE = """\
# 标题

文字里有 `name_a` 和[一页](network.zh-CN.md#auto)。

- 一
- 二

## 部分

| 名字 | 含义 |
|---|---|
| `var_a` | 取 `x \\| y` |

```yaml
key: value               # 为什么
```

![图](images/picture.png)
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("标题", "标题", None),
        ("# 为什么", "# 别的注释", None),
        ("## 部分", "### 部分", "headings"),
        ("## 部分", "", "headings"),
        ("## 部分", "## Part", "is it Chinese"),
        ("key: value", "key: other", "code blocks"),
        ("```yaml", "```console", "code blocks"),
        ("`name_a`", "`name_b`", "inline code: "),
        ("文字里有 `name_a` 和", "文字里有", "inline code: "),
        ("| `var_a` | 取 `x \\| y` |\n", "", "size of tables"),
        ("| `var_a` | 取 `x \\| y` |", "| `var_a` | 取 `x \\| y` | 多余 |", "size of tables"),
        ("| `var_a` |", "| `var_b` |", "inline code in the row"),
        ("取 `x \\| y`", "取 `x`", "inline code in the row"),
        ("- 二\n", "", "list items"),
        ("network.zh-CN.md#auto", "network.md#auto", "links and images"),
        ("network.zh-CN.md#auto", "network.zh-CN.md", "links and images"),
        ("![图](images/picture.png)", "", "links and images, missing"),
        ("images/picture.png", "images/other.png", "links and images"),
        ("文字里有 `name_a` 和", "There is text in English here with `name_a` and ", None),  # a Chinese link text in it
        ("文字里有 `name_a` 和[一页]", "There is some text in English with `name_a` and [page]", "not translated"),
        ("取 `x \\| y`", "takes one of these two values `x \\| y`", "not translated"),
    ],
)
def test_comparison_finds_what_differs(old, new, message):
    page = ROOT / "docs" / "sample.md"
    changed = CHINESE_SAMPLE.replace(old, new, 1)
    assert (changed != CHINESE_SAMPLE) == (old != new)
    found = differences(page, ENGLISH_SAMPLE, changed)
    assert bool(found) == bool(message), found
    assert not message or any(message in text for text in found), found


def test_generators_report_missing_and_unused_translations(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    translation = importlib.import_module("translation")
    pairs = tmp_path / "zh-CN.yml"
    pairs.write_text("roles:\n- {en: One sentence., zh: 一句话。}\n- {en: Gone., zh: 没有了。}\n")
    translate = translation.Translation(pairs, "roles")
    assert translate("One\n  sentence.") == "一句话。"
    assert translate("Another one.") == "Another one."
    assert translate("") == ""
    missing, unused = translate.problems()
    assert "add a translation of: Another one." in missing
    assert "gone: Gone." in unused

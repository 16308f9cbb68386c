"""Templates of roles are compiled once, in whatever process. Oracle: the same Ansible in a process in which nothing is kept."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sdops.webui.plugins.plugin_utils.templating import remember_values
from helpers.ansible_site import ansible_environment
from helpers.paths import ROOT

OURS = [f"{ROOT}/roles/base/tasks/main.yml", f"{ROOT}/playbooks/site.yml"]
NOT_OURS = [
    f"{ROOT}/inventories/container/group_vars/all.yml",
    f"{ROOT}/playbooks/group_vars/all.yml",
    "/etc/ansible/site.yml",
    None,
]
# text, and whether it is an expression, as in when
CASES = [
    ["{{ name | upper }} and {{ missing | default('none') }}", False],
    ["{{ name | upper }}-{{ name | sdops.webui.mine_or_theirs }}", False],
    ["{% for each in numbers if each is odd %}{{ each }}, {% endfor %}", False],
    ["{{ nested.inner }}\n", False],
    ["{{ numbers | map('int') | list }}", False],
    ["{{ 'a\\tb' ~ name }}", False],
    ["a\\tb {{ {'key': [name]} }}", False],
    ["#jinja2: variable_start_string: '[%', variable_end_string: '%]'\n[% name %] {{ name }}", False],
    ["{{ lookup('ansible.builtin.vars', 'name') }}{{ missing | mandatory }}", False],
    ["{{ missing.inner }}", False],
    ["{{ name | no_such_filter }}", False],
    ["{{ name", False],
    ["name == 'x' and numbers is subset([1, 2, 3])", True],
    ["name | length > 3", True],
    ["name ==", True],
    ["name is no_such_test", True],
    ["{{ name }}", True],
]
SCRIPT = """
import json, sys
from pathlib import Path
import jinja2
from ansible.plugins.loader import init_plugin_loader, filter_loader
from ansible._internal._datatag._tags import Origin
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
init_plugin_loader()
from ansible_collections.sdops.webui.plugins.plugin_utils import templating
given = json.load(sys.stdin)
if given["filters"]:
    filter_loader.add_directory(given["filters"])
if given["directory"]:
    templating.reuse_compiled_templates(Path(given["directory"]))
compiled, generate = [], jinja2.environment.Environment._generate
jinja2.environment.Environment._generate = lambda self, *args, **kwargs: compiled.append(1) or generate(self, *args, **kwargs)
variables = {"name": "x", "numbers": [1, 2, 3], "nested": {"inner": trust_as_template("{{ name * 3 }}")}}
templar = Templar(DataLoader(), variables)
results = []
for text, is_expression in given["cases"]:
    text = trust_as_template(text)
    if given["origin"]:
        text = Origin(path=given["origin"], line_num=7).tag(text)
    for _ in range(2):
        try:
            results.append(templar.evaluate_conditional(text) if is_expression else templar.template(text))
        except Exception as exc:
            results.append([type(exc).__name__, str(exc), str(exc.__cause__)])
print(json.dumps([results, len(compiled)]))
"""
MINE = """
from jinja2 import pass_context, pass_environment
class FilterModule:
    def filters(self):
        return {"upper": DECORATOR(lambda *given: "%s %s" % (type(given[0]).__name__, given[-1]))}
"""


@pytest.fixture
def evaluate(tmp_path):
    """``evaluate(cases, origin, ...)``: (result of each case, twice; number of compilations), in a process of its own."""

    def run(cases, origin=OURS[0], directory=tmp_path / "templates", filters=""):
        given = {"cases": cases, "origin": origin, "directory": str(directory or ""), "filters": str(filters)}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], input=json.dumps(given), env=ansible_environment(), capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def works(result):
    return not (isinstance(result, list) and "Error" in str(result[0]))


@pytest.mark.parametrize("origin", OURS)
def test_what_is_kept_gives_what_ansible_gives(evaluate, origin):
    plain, count = evaluate(CASES, origin, directory=None)
    assert count >= 2 * sum(map(works, plain[::2]))
    first, _ = evaluate(CASES, origin)
    again, left = evaluate(CASES, origin)
    assert first == again == plain
    # of those with a mistake Ansible says itself what it is; nested.inner is a text of a user's, and a text without its header is another one
    others = ("nested", "#jinja2:")
    good = [
        c
        for c, result in zip(CASES, plain[::2], strict=True)
        if works(result) and not any(word in c[0] for word in others)
    ]
    assert len(good) > 7 and left < count
    assert evaluate(good, origin)[1] == 0


@pytest.mark.parametrize("origin", NOT_OURS)
def test_texts_of_users_are_not_kept(evaluate, tmp_path, origin):
    evaluate(CASES, origin)
    assert list((tmp_path / "templates").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"\0" * 500, None])
def test_a_damaged_file_is_replaced(evaluate, tmp_path, damage):
    results, count = evaluate(CASES[:1])
    (file,) = (tmp_path / "templates").iterdir()
    whole = file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(whole[:-1] + b"!" if damage is None else damage)
    assert evaluate(CASES[:1]) == [results, count]
    assert evaluate(CASES[:1]) == [results, 0] and file.read_bytes() == whole


def test_a_directory_that_cannot_be_written_is_no_matter(evaluate, tmp_path):
    (tmp_path / "templates").write_text("a file")
    assert evaluate(CASES[:1]) == evaluate(CASES[:1], directory=None)


@pytest.mark.parametrize("decorator", ["", "pass_context", "pass_environment"])
def test_a_filter_of_somebody_else_with_the_name_of_a_known_one(evaluate, tmp_path, decorator):
    """Jinja's code for it depends on what it wants to get."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text(MINE.replace("DECORATOR", decorator))
    cases = [["{{ name | upper }}", False]]
    known = evaluate(cases)[0]
    theirs = evaluate(cases, filters=tmp_path / "mine")[0]
    assert theirs == evaluate(cases, directory=None, filters=tmp_path / "mine")[0] != known
    assert evaluate(cases)[0] == known == ["X", "X"]


def test_values_are_worked_out_once(tmp_path):
    log = tmp_path / "log"
    counted = trust_as_template(f"{{{{ lookup('pipe', 'echo once >> {log}; cat {log}') }}}}")
    texts = {
        "counted": counted,
        "of_it": trust_as_template("{{ counted ~ '!' }}"),
        "wrong": trust_as_template("{{ missing }}"),
    }
    engine = Templar(DataLoader(), texts)
    remembering = remember_values(engine)
    for _ in range(2):
        assert remembering.template(trust_as_template("{{ of_it }}{{ counted }}")) == "once!once"
        assert remembering.evaluate_conditional(trust_as_template("counted == 'once'"))
        with pytest.raises(Exception, match="'missing' is undefined"):
            remembering.template(trust_as_template("{{ wrong }}"))
    assert log.read_text() == "once\n" and engine.available_variables["counted"] == counted
    assert engine.template(trust_as_template("{{ counted }}")) == "once\nonce"
    assert remember_values(texts) is texts  # not an engine of Ansible

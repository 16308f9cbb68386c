"""The key of a run is another one when anything that the run is made of is another one, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.sdops.webui.plugins.action.preflight import ActionModule
from ansible_collections.sdops.webui.plugins.plugin_utils import convergence_key as module
from ansible_collections.sdops.webui.plugins.plugin_utils.convergence_key import (
    ConvergenceKey,
    collection_digest,
    convergence_key,
    describe_difference,
)

FACTS = {"machine": "x86_64", "hostname": "box", "distribution_version": "12", "date_time": {"epoch": "1"}}
OPTIONS = {"sdops_home": "/opt/sdops", "sd_webui_commit": "0" * 40, "no_proxy": ["localhost"]}


def key(facts=None, roles=("sdops", "sd_webui"), **options) -> ConvergenceKey:
    return convergence_key(list(roles), {**OPTIONS, **options}, {**FACTS, **(facts or {})})


def test_the_same_run_has_the_same_key():
    assert key() == key() == key(facts={"date_time": {"epoch": "2"}, "env": {"PATH": "/x"}})
    assert len(key().key) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"sd_webui_commit": "1" * 40},
        {"sdops_home": "/mnt"},
        {"no_proxy": ["localhost", "10.0.0.1"]},
        {"sdops_verify": True},
        {"roles": ("sdops",)},
        {"facts": {"sdops_gpu": {"present": True}}},
        {"facts": {"machine": "aarch64"}},
        {"facts": {"distribution_version": "13"}},
    ],
)
def test_what_a_run_is_made_of_counts(changed):
    assert key(**changed).key != key().key
    (name,) = key(**changed).changed_parts(key().parts)
    assert name.removesuffix(":").split(":")[-1] in str(changed)
    assert all(len(digits) == 4 for digits in key().parts.values())


def test_the_language_of_messages_does_not_count():
    assert key(sdops_language="zh") == key()


def test_files_of_the_controller_count_and_those_of_the_target_do_not(tmp_path):
    zip_file = tmp_path / "xray.zip"
    zip_file.write_text("one")
    named = {"xray_proxy_controller_zip": str(zip_file)}
    before = key(**named)
    assert key(**named) == before
    zip_file.write_text("two, and longer")
    assert key(**named).changed_parts(before.parts) == [f"file:{zip_file}"]
    elsewhere = {"sdops_boot_hook": str(zip_file)}
    before = key(**elsewhere)
    zip_file.unlink()
    assert key(**elsewhere) == before


def test_the_code_of_the_collection_counts(tmp_path, monkeypatch):
    for path in ("roles/base/tasks/main.yml", "plugins/modules/files.py", "plugins/__pycache__/x.pyc", "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("one")
    monkeypatch.setattr(module, "COLLECTION", tmp_path)

    def digest() -> str:
        collection_digest.cache_clear()
        return collection_digest()

    before = digest()
    (tmp_path / "README.md").write_text("two")
    (tmp_path / "plugins/__pycache__/x.pyc").write_text("two")
    assert digest() == before
    for path in ("roles/base/tasks/main.yml", "plugins/modules/files.py"):
        (tmp_path / path).write_text("two")
        assert digest() != before
        before = digest()
    collection_digest.cache_clear()


@pytest.mark.parametrize(
    ("toolbox", "options", "difference"),
    [
        ({"usable": True, "reason": ""}, {}, []),
        ({"usable": False, "reason": "uv==0.13.9: is not there"}, {}, ["toolbox", "uv==0.13.9: is not there"]),
        ({"usable": True, "reason": ""}, {"sdops_home": "/mnt"}, ["changed", "sdops_home"]),
    ],
)
def test_a_host_is_kept_while_its_toolbox_is_whole(toolbox, options, difference):
    facts = {**FACTS, "sdops_host": {"toolbox": toolbox}}
    made_of = {**OPTIONS, "no_proxy": ["localhost"]}
    recorded = convergence_key(["sdops"], made_of, facts)
    action = ActionModule.__new__(ActionModule)
    action._templar = Templar(loader=DataLoader(), variables={})
    variables = {"ansible_facts": facts, "sdops_no_proxy_all": ["localhost"]}
    found = action._compare_convergence(
        ["sdops"], {**made_of, **options}, variables, {**recorded._asdict(), "difference": []}
    )
    assert found["difference"] == difference and found["holds"] is (not difference)


@pytest.mark.parametrize(
    ("difference", "english", "chinese"),
    [
        (["record"], "its record cannot be read any more", "它的记录已无法读取"),
        (["programs"], "the programs of supervisord are in other states", "supervisord 的程序状态变了"),
        (["changed", "/opt/x"], "/opt/x has changed", "/opt/x 变了"),
        (["changed_many", "collection:", "fact:hostname"], "the collection, the fact hostname have changed", "本集合、主机信息 hostname 变了"),
        (["changed_many", "a", "file:/b:c", "roles:", "d"], "a, the file /b:c, the roles, ... have changed", "a、文件 /b:c、所运行的角色、... 变了"),
        (["proxy"], "no request gets through the proxy", "请求无法通过代理"),
        (["webui"], "the WebUI is not ready", "WebUI 未就绪"),
        (["toolbox", "uv: is not there"], "the toolbox is not whole (uv: is not there)", "工具箱不完整（uv: is not there）"),
        (["error", "'x' is undefined"], "'x' is undefined", "'x' is undefined"),
    ],
)  # fmt: skip
def test_the_difference_in_words(difference, english, chinese):
    assert [describe_difference(difference, language) for language in ("en", "zh")] == [english, chinese]


@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        ({}, True),
        ({"ansible_skip_tags": ["molecule-notest"]}, True),
        ({"ansible_run_tags": {"base"}}, False),
        ({"ansible_run_tags": {"all", "base"}}, False),
        ({"ansible_skip_tags": ["model_fetch"]}, False),
        ({"ansible_check_mode": True}, False),
        ({"sdops_verify": "yes"}, False),
        ({"conda_env_recreate": True}, False),
        ({"model_fetch_verify": "full"}, False),
        ({"xray_proxy_state": "absent"}, False),
        ({"__sdops_report_version": True}, False),
        ({"__sdops_tags": None}, False),
    ],
)
def test_only_a_whole_run_that_asks_for_nothing_may_keep_a_host(variables, kept):
    vars_file = Path(module.ROLES) / "sdops" / "vars" / "main.yml"
    known = {
        **DataLoader().load_from_file(str(vars_file), trusted_as_template=True),
        "__sdops_tags": ["base", "model_fetch"],
        "ansible_run_tags": {"all"},
        "ansible_skip_tags": [],
        "ansible_check_mode": False,
        "sdops_verify": False,
        **variables,
    }
    known = {name: value for name, value in known.items() if value is not None}
    engine = Templar(loader=DataLoader(), variables=known)
    assert bool(engine.template(known["__sdops_may_keep"])) is kept

"""host_state_info tries the programs of a host on which nothing else has changed: the fake WebUI, a proxy, a real supervisord."""

from __future__ import annotations

import time

import pytest

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def proxy_url(serve) -> str:
    """A proxy that answers itself, with the status that the host name begins with."""
    return serve(lambda path, _headers: (int(path[len("http://") :][:3]), {}, b""))[0]


@pytest.fixture
def difference(run_module, supervisor, tmp_path):
    """What has changed by host_state_info, on a host whose supervisord runs these programs."""

    def read(*programs: str, changed: bool = False, **options: dict) -> list[str]:
        record = {"supervisor_dir": str(supervisor)}
        for name in programs:
            done = run_module("supervisor_program", name=name, command="sleep 1000", startsecs=0, **record)
            assert not done["failed"], done
        (tmp_path / "file").write_text("")
        path = str(tmp_path / "record.json")
        run_module("convergence_record", path=path, key="k", paths=[str(tmp_path / "file")], models_dir="", **record)
        if changed:
            (tmp_path / "file").write_text("changed")
        found = run_module("host_state_info", convergence_record=path, programs=options, **record)
        assert not found["failed"], found
        return found["state"]["convergence"]["difference"]

    return read


def proxy_options(url: str, status: int = 200) -> dict:
    return {"url": url, "request_urls": [f"http://{status}.test/"], "timeout": 5, "delay": 60}


def test_programs_that_work(difference, webui, ready, proxy_url):
    assert difference("webui", "xray", webui=webui.access, proxy=proxy_options(proxy_url, 404)) == []
    assert not list(webui.directory.rglob("outputs/**/*.png"))


@pytest.mark.parametrize("options", [proxy_options(DEAD), {"url": DEAD, "request_urls": []}])
def test_a_proxy_that_fails_is_not_waited_for(difference, webui, ready, options):
    started = time.monotonic()
    assert difference("webui", "xray", webui=webui.access, proxy=options) == ["proxy"]
    assert time.monotonic() - started < 60  # one delay


def test_a_proxy_without_its_far_end(difference, proxy_url):
    assert difference("xray", proxy=proxy_options(proxy_url, 503)) == ["proxy"]


def test_a_webui_that_does_not_answer(difference, proxy_url):
    assert difference("webui", "xray", webui={"url": DEAD}, proxy=proxy_options(proxy_url)) == ["webui"]
    assert difference("webui", "xray", proxy=proxy_options(proxy_url)) == []


def test_a_webui_with_another_password(difference, webui, ready, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("sdops:wrong\n")
    wrong.chmod(0o600)
    assert difference("webui", webui={**webui.access, "credentials_file": str(wrong)}) == ["webui"]


def test_a_webui_that_supervisord_did_not_start(difference, webui, ready, supervisor):
    options = {**webui.access, "program": "webui", "supervisor_dir": str(supervisor)}
    assert difference("webui", webui=options) == ["webui"]


def test_what_is_not_in_the_record_is_not_tried(difference):
    assert difference("xray", webui={"url": DEAD}) == []


def test_where_a_file_has_changed_nothing_is_tried(difference, tmp_path):
    assert difference("webui", webui={"url": DEAD}, changed=True) == ["changed", str(tmp_path / "file")]


def test_a_mistake_in_the_options_is_named(run_module):
    found = run_module("host_state_info", programs={"proxy": {"url": DEAD}, "other": {}})
    assert found["failed"] and "request_urls" in found["msg"] and "other" in found["msg"]

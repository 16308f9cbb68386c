"""webui_refresh against the fake WebUI, and against what is no WebUI."""

from __future__ import annotations

import socket

import pytest
from helpers.fake_webui import safetensors

KINDS = {"lora": "models/Lora", "vae": "models/VAE", "checkpoint": "models/Stable-diffusion"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_model_is_listed_at_once_and_a_lost_one_no_longer(webui, ready, run_module, kind):
    place = webui.directory / KINDS[kind] / f"new-{kind}.safetensors"
    request = {**webui.access, "kinds": [kind]}
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(safetensors(kind))
    try:
        for check, changed in ((True, False), (False, True), (True, False), (False, False)):
            found = run_module("webui_refresh", check=check, **request)
            assert (found["failed"], found["changed"], found["running"]) == (False, changed, True), found
            if changed:
                assert found["actions"] == [f"list {kind} {place}"]
                assert str(place) in found["diff"]["after"] and str(place) not in found["diff"]["before"]
            else:
                assert found["actions"] == [] and found["diff"]["before"] == found["diff"]["after"]
    finally:
        place.unlink()
    assert run_module("webui_refresh", **request)["actions"] == [f"drop {kind} {place}"]


def test_all_lists_by_default(webui, ready, run_module):
    found = run_module("webui_refresh", **webui.access)
    assert (found["failed"], found["changed"], found.get("warnings", [])) == (False, False, [])
    assert "tiny.safetensors" in found["diff"]["after"]


def test_embeddings_of_a_webui_without_a_model_are_read_with_the_model(tmp_path, run_module, start_webui):
    running = start_webui(tmp_path, checkpoint=b"\xff" * 4096)
    try:
        found = run_module("webui_refresh", **running.access, kinds=["embedding"])
        assert (found["failed"], found["changed"], found.get("warnings", [])) == (False, False, [])
    finally:
        running.process.terminate()
        running.process.wait(20)


def test_a_webui_that_does_not_run_is_no_failure(run_module, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    found = run_module("webui_refresh", url=url, credentials_file=str(tmp_path / "none"))
    assert (found["failed"], found["changed"], found["running"]) == (False, False, False)
    assert found.get("warnings", []) == []


def test_wrong_credentials_are_a_warning_with_a_next_step(webui, ready, run_module, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("sdops:wrong\n")
    wrong.chmod(0o600)
    found = run_module("webui_refresh", url=webui.url, credentials_file=str(wrong), kinds=["vae"])
    assert (found["failed"], found["changed"]) == (False, False)
    (warning,) = map(str, found["warnings"])
    assert "refuses the credentials" in warning and "restart the WebUI" in warning


def test_a_version_without_the_route_is_a_warning(serve, run_module):
    """As 1.5.2, which has no refresh-vae."""
    url, seen = serve(lambda path, headers: (200, {}, b"[]") if path == "/sdapi/v1/sd-vae" else (404, {}, b"{}"))
    found = run_module("webui_refresh", url=url, kinds=["vae"])
    assert found["failed"] is False and "list of vae models" in str(found["warnings"]), (found, seen)

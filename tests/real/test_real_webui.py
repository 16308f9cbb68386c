"""The real WebUI renders, takes settings and answers a client of its API."""

from __future__ import annotations

import struct

import pytest


def test_it_is_the_real_one(real_webui):
    sysinfo = real_webui.call("/internal/sysinfo")
    assert "Fake" not in sysinfo and sysinfo["Version"]
    assert real_webui.call("/sdapi/v1/options")["sd_model_checkpoint"].startswith("tiny-sd2.safetensors")


def test_an_image_follows_its_seed(real_webui):
    first, repeated, other = (real_webui.image(seed=seed) for seed in (1, 1, 2))
    assert struct.unpack(">II", first[16:24]) == (256, 256)
    assert first == repeated != other


@pytest.mark.parametrize("change", [{"sd_vae": "tiny-vae.safetensors"}, {"CLIP_stop_at_last_layers": 2}])
def test_settings_take_effect(real_webui, change):
    before = {name: real_webui.call("/sdapi/v1/options")[name] for name in change}
    plain = real_webui.image()
    try:
        real_webui.call("/sdapi/v1/options", change)
        assert real_webui.image() != plain
    finally:
        real_webui.call("/sdapi/v1/options", before)


def test_the_client_of_pypi_gets_an_image(real_webui):
    webuiapi = pytest.importorskip("webuiapi", reason="pip install webuiapi")
    client = webuiapi.WebUIApi(host="127.0.0.1", port=real_webui.port)
    client.set_auth(*real_webui.credentials.split(":", 1))
    drawn = client.txt2img(prompt="a lighthouse", seed=1, steps=4, width=256, height=256)
    assert drawn.image.size == (256, 256)

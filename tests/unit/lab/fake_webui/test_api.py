"""Options and txt2img of the fake WebUI."""

from __future__ import annotations

import base64
import json
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from helpers.fake_webui import Instance, safetensors


def decode(data: bytes) -> tuple[int, int, bytes, dict[str, str]]:
    """(width, height, RGB bytes, texts) of an 8-bit RGB PNG without filters; every checksum is verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, texts, kinds = 8, b"", {}, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        kinds.append(kind)
        if kind == b"IHDR":
            width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, rest) == (8, 2, [0, 0, 0])
        elif kind == b"IDAT":
            packed += body
        elif kind == b"tEXt":
            key, value = body.split(b"\0", 1)
            texts[key.decode("latin-1")] = value.decode("latin-1")
        elif kind == b"iTXt":
            key, rest = body.split(b"\0", 1)
            texts[key.decode("latin-1")] = rest[2:].split(b"\0", 2)[2].decode()
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND"
    raw = zlib.decompress(packed)
    stride = 3 * width + 1
    assert len(raw) == stride * height and not any(raw[::stride])
    return width, height, b"".join(raw[y * stride + 1 : (y + 1) * stride] for y in range(height)), texts


def pixels(data: bytes) -> bytes:
    return decode(data)[2]


@pytest.fixture(scope="module")
def shared_instance(site, tmp_path_factory):
    """One server for the tests that only draw; each puts back what it changes."""
    instance = Instance(site, tmp_path_factory.mktemp("instance"))
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.model("models/Stable-diffusion", "b.safetensors", "b")
    instance.model("models/VAE", "v.safetensors", "v")
    instance.model("models/Lora", "film.safetensors", "film", ss_output_name="velvia")
    instance.model("embeddings", "bad_pictures.safetensors", "bad")
    yield instance.start()
    instance.stop()


def test_the_image_is_a_png_with_an_infotext(shared_instance):
    answer = shared_instance.txt2img(
        prompt="a lake, dawn",
        negative_prompt="ugly",
        steps=7,
        cfg_scale=5.5,
        width=96,
        height=64,
        sampler_name="Euler a",
    )
    assert answer.status == 200
    result = answer.json
    width, height, rgb, texts = decode(base64.b64decode(result["images"][0]))
    assert (width, height) == (96, 64) and len(set(rgb)) > 20
    [model] = [entry for entry in shared_instance.call("/sdapi/v1/sd-models").json if entry["model_name"] == "a"]
    assert texts["parameters"] == (
        "a lake, dawn\nNegative prompt: ugly\nSteps: 7, Sampler: Euler a, Schedule type: Automatic, CFG scale: 5.5, Seed: 1, "
        f"Size: 96x64, Model hash: {model['hash']}, Model: a, Version: v1.10.1-sdops-fake"
    )
    info = json.loads(result["info"])
    assert info["infotexts"] == [texts["parameters"]] and info["seed"] == 1 and info["sd_model_hash"] == model["hash"]
    assert result["parameters"]["steps"] == 7 and result["parameters"]["save_images"] is False
    assert (shared_instance.data / "params.txt").read_text() == texts["parameters"]


def test_the_same_request_gives_the_same_pixels_and_any_difference_others(shared_instance):
    base = {"prompt": "a lake", "negative_prompt": "ugly", "seed": 5, "steps": 2}
    first = pixels(shared_instance.image(**base))
    assert pixels(shared_instance.image(**base)) == first
    others = [
        pixels(shared_instance.image(**{**base, **change}))
        for change in (
            {"prompt": "a hill"},
            {"negative_prompt": "blurry"},
            {"seed": 6},
            {"steps": 3},
            {"cfg_scale": 8},
            {"sampler_name": "DDIM"},
            {"prompt": "a lake <lora:film:0.8>"},
            {"prompt": "a lake <lora:film:0.9>"},
            {"negative_prompt": "ugly bad_pictures"},
            {"override_settings": {"sd_model_checkpoint": "b"}},
        )
    ]
    assert len({first, *others}) == len(others) + 1
    assert pixels(shared_instance.image(**base)) == first
    # a network that is not there has no effect, under either kind of mistake
    assert pixels(shared_instance.image(**{**base, "prompt": "a lake<lora:nope:1>"})) == first


def test_infotext_names_networks_by_hash(shared_instance):
    texts = decode(shared_instance.image(prompt="x <lora:velvia:0.5>", negative_prompt="bad_pictures"))[3]
    assert 'Lora hashes: "velvia: ' in texts["parameters"] and 'TI hashes: "bad_pictures: ' in texts["parameters"]
    texts = decode(shared_instance.image(prompt="x <lora:nope:0.5>"))[3]
    assert "hashes" not in texts["parameters"]


def test_batches_saving_and_unicode(shared_instance):
    answer = shared_instance.txt2img(prompt="山と湖", batch_size=2, n_iter=2, save_images=True)
    images = [base64.b64decode(image) for image in answer.json["images"]]
    assert len({pixels(image) for image in images}) == 4
    assert json.loads(answer.json["info"])["all_seeds"] == [1, 2, 3, 4]
    assert decode(images[3])[3]["parameters"].startswith("山と湖\n") and "Seed: 4" in decode(images[3])[3]["parameters"]
    assert pixels(images[1]) == pixels(shared_instance.image(prompt="山と湖", seed=2))
    [day] = (shared_instance.data / "outputs" / "txt2img-images").iterdir()
    saved = sorted(path.name for path in day.iterdir())
    assert [name[5:] for name in saved] == [f"-{seed}.png" for seed in (1, 2, 3, 4)] and saved[0] == "00000-1.png"
    assert (day / "00002-3.png").read_bytes() == images[2]
    assert 'src="data:image/png;base64,' in shared_instance.call("/").text


def test_images_may_stay_on_the_server(shared_instance):
    assert shared_instance.txt2img(prompt="x", send_images=False).json["images"] == []


def test_random_seed(shared_instance):
    seeds = {json.loads(shared_instance.txt2img(prompt="x", seed=-1).json["info"])["seed"] for _ in range(2)}
    assert len(seeds) == 2 and -1 not in seeds


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (
            {"steps": "many"},
            [{"loc": ["body", "steps"], "msg": "value is not a valid integer", "type": "type_error.integer"}],
        ),
        ({"width": 32}, None),
        ({"height": 4096}, None),
        ({"batch_size": 100}, None),
        ({"enable_hr": True}, None),
        ({"script_name": "X/Y/Z plot"}, "Script 'X/Y/Z plot' not found"),
    ],
)
def test_invalid_requests_are_rejected(shared_instance, request_, detail):
    answer = shared_instance.txt2img(prompt="x", **request_)
    assert answer.status == 422
    if detail:
        assert answer.json["detail"] == detail


def test_odd_sizes_are_rounded_down_to_multiples_of_eight(shared_instance):
    width, height, _, texts = decode(shared_instance.image(prompt="x", width=101, height=71))
    assert (width, height) == (96, 64) and "Size: 101x71" in texts["parameters"]


def test_bodies_and_paths_that_do_not_fit(shared_instance):
    assert shared_instance.call("/sdapi/v1/txt2img", "not json").status == 422
    assert shared_instance.call("/sdapi/v1/options", [1]).status == 422
    assert shared_instance.call("/sdapi/v1/nope").json == {"detail": "Not Found"}
    assert shared_instance.call("//").status == 404  # as for uvicorn, two slashes are not one
    answer = shared_instance.call("/sdapi/v1/txt2img")
    assert answer.status == 405 and answer.json == {"detail": "Method Not Allowed"}


def test_lists(shared_instance):
    [embedding] = shared_instance.call("/sdapi/v1/embeddings").json["loaded"].items()
    assert embedding[0] == "bad_pictures" and embedding[1]["shape"] == 32
    assert shared_instance.call("/sdapi/v1/progress?skip_current_image=true").json == {
        "progress": 0.0,
        "eta_relative": 0.0,
        "state": {
            **{"skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0},
            **shared_instance.call("/sdapi/v1/progress").json["state"],
        },
        "current_image": None,
        "textinfo": None,
    }


def test_clip_skip_and_vae_reach_infotext_and_pixels(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.model("models/VAE", "v.safetensors", "v")
    instance.start()
    plain = instance.image(prompt="x")
    assert "VAE" not in decode(plain)[3]["parameters"] and "Clip skip" not in decode(plain)[3]["parameters"]
    body = {"sd_vae": "v.safetensors", "CLIP_stop_at_last_layers": 2}
    answer = instance.call("/sdapi/v1/options", body)
    assert answer.status == 200 and answer.text == "null"
    changed = decode(instance.image(prompt="x"))
    assert "VAE: v.safetensors" in changed[3]["parameters"] and "Clip skip: 2" in changed[3]["parameters"]
    assert changed[2] != pixels(plain)
    assert instance.call("/sdapi/v1/options", {"sd_vae": "None", "CLIP_stop_at_last_layers": 1}).status == 200
    assert pixels(instance.image(prompt="x")) == pixels(plain)


def test_pixels_follow_the_bytes_of_the_checkpoint_not_its_name(instance):
    path = instance.model("models/Stable-diffusion", "a.safetensors", "one")
    instance.start()
    first = pixels(instance.image(prompt="x"))
    instance.stop()
    path.rename(path.with_name("renamed.safetensors"))
    instance.log.unlink()
    instance.start()
    assert pixels(instance.image(prompt="x")) == first
    instance.stop()
    path.with_name("renamed.safetensors").write_bytes(safetensors("two"))
    instance.log.unlink()
    instance.start()
    assert pixels(instance.image(prompt="x")) != first


def test_vae_next_to_the_checkpoint_is_taken_under_automatic(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    sidecar = instance.model("models/Stable-diffusion", "a.vae.safetensors", "v")
    instance.start()
    instance.wait(f"Loading VAE weights found near the checkpoint: {sidecar}")
    assert "VAE: a.vae.safetensors" in decode(instance.image(prompt="x"))[3]["parameters"]
    instance.call("/sdapi/v1/options", {"sd_vae": "None"})
    assert "VAE" not in decode(instance.image(prompt="x"))[3]["parameters"]


def test_options_follow_the_rules_of_the_original(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.model("models/Stable-diffusion", "b.safetensors", "b")
    instance.model("models/VAE", "cut.safetensors", "v").write_bytes(b"cut")
    instance.start()
    config = instance.data / "config.json"
    assert not config.exists()  # written on save, not at start

    # a model goes by several names; the setting then holds its title
    assert instance.call("/sdapi/v1/options", {"sd_model_checkpoint": "b"}).status == 200
    title = instance.options()["sd_model_checkpoint"]
    assert title.startswith("b.safetensors [")
    assert json.loads(config.read_text())["sd_model_checkpoint"] == title
    answer = instance.call("/sdapi/v1/options", {"sd_model_checkpoint": "nope"})
    assert answer.status == 500
    assert answer.json == {"error": "RuntimeError", "detail": "", "body": "", "errors": "model 'nope' not found"}
    assert instance.options()["sd_model_checkpoint"] == title

    # numbers come back as numbers with a point, texts are stored as texts
    assert instance.options()["CLIP_stop_at_last_layers"] == 1
    instance.call("/sdapi/v1/options", {"CLIP_stop_at_last_layers": "2"})
    assert json.loads(config.read_text())["CLIP_stop_at_last_layers"] == "2"
    assert instance.options()["CLIP_stop_at_last_layers"] == 2.0
    assert instance.txt2img(prompt="x").status == 500  # and there the text bites
    instance.call("/sdapi/v1/options", {"CLIP_stop_at_last_layers": "two"})
    answer = instance.call("/sdapi/v1/options")
    assert answer.status == 500 and answer.json["error"] == "ValidationError"
    instance.call("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 1})

    # an unknown key fails after the keys before it have been set, and nothing is saved
    answer = instance.call("/sdapi/v1/options", {"jpeg_quality": 70, "no_such_option": 1})
    assert answer.status == 500 and answer.json["error"] == "KeyError" and answer.json["errors"] == "'no_such_option'"
    assert instance.options()["jpeg_quality"] == 70 and "jpeg_quality" not in json.loads(config.read_text())

    # a broken VAE: 200, and the former value comes back
    assert instance.call("/sdapi/v1/options", {"sd_vae": "cut.safetensors"}).status == 200
    assert instance.options()["sd_vae"] is None
    instance.wait("changing setting sd_vae to cut.safetensors: SafetensorError")


def test_settings_survive_a_restart_and_wrong_types_are_reported(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.model("models/Stable-diffusion", "b.safetensors", "b")
    instance.start()
    instance.call("/sdapi/v1/options", {"sd_model_checkpoint": "b", "CLIP_stop_at_last_layers": 2})
    title = instance.options()["sd_model_checkpoint"]
    instance.stop()
    config = instance.data / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "jpeg_quality": "high"}))
    instance.log.unlink()
    instance.start()
    instance.wait("Warning: bad setting value: jpeg_quality: high (str; expected int)")
    config.write_text(json.dumps({**json.loads(config.read_text()), "jpeg_quality": 80}))
    instance.stop()
    instance.log.unlink()
    instance.start()
    options = instance.options()
    assert options["sd_model_checkpoint"] == title and options["CLIP_stop_at_last_layers"] == 2
    instance.wait("from " + str(instance.data / "models/Stable-diffusion/b.safetensors"))


def test_overrides_are_restored_if_the_setting_had_been_set(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.model("models/Stable-diffusion", "b.safetensors", "b")
    instance.start()
    before = instance.options()["sd_model_checkpoint"]
    override = {"sd_model_checkpoint": "b", "CLIP_stop_at_last_layers": 2}
    text = decode(instance.image(prompt="x", override_settings=override))[3]["parameters"]
    assert "Model: b" in text and "Clip skip: 2" in text
    after = instance.options()
    assert after["sd_model_checkpoint"] == before
    assert after["CLIP_stop_at_last_layers"] == 2  # never set before: as in the original it stays
    assert "Model: a" in decode(instance.image(prompt="x"))[3]["parameters"]
    # an unknown checkpoint is passed over silently, an unknown setting is not
    text = decode(instance.image(prompt="x", override_settings={"sd_model_checkpoint": "nope"}))[3]["parameters"]
    assert "Model: a" in text
    assert instance.txt2img(prompt="x", override_settings={"nope": 1}).json["error"] == "KeyError"


def test_freeze_settings(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.start("--freeze-settings")
    answer = instance.call("/sdapi/v1/options", {"jpeg_quality": 70})
    assert answer.status == 500 and answer.json["error"] == "AssertionError"


def torch_file(path: Path, pickled: bytes, storages: tuple[str, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for name in storages:
            archive.writestr(f"archive/data/{name}", b"\0" * 64)


# {"string_to_param": {"*": a 2x8 tensor in storage 0}} as torch.save writes it, protocol 2
EMBEDDING = (
    b"\x80\x02}X\x0f\x00\x00\x00string_to_param}X\x01\x00\x00\x00*ctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ"
    b"K\x00K\x02K\x08\x86K\x08K\x01\x86\x89ccollections\nOrderedDict\n)RtRss."
)


def test_torch_files(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    torch_file(instance.data / "embeddings" / "good.pt", EMBEDDING, ("0",))
    torch_file(instance.data / "embeddings" / "cut.pt", EMBEDDING)
    torch_file(instance.data / "embeddings" / "hostile.pt", b"cos\nsystem\n(S'true'\ntR.")
    (instance.data / "embeddings" / "empty.pt").write_bytes(b"")
    instance.start()
    loaded = instance.call("/sdapi/v1/embeddings").json["loaded"]
    assert list(loaded) == ["good"] and loaded["good"]["shape"] == 8 and loaded["good"]["vectors"] == 2
    log = instance.log.read_text()
    assert "*** Error loading embedding cut.pt" in log and "data/0: file not found" in log
    assert "global 'os/system' is forbidden" in log and "empty.pt" not in log

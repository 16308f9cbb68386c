"""The catalog of models: its data, and names as model entries, up to files in place from the lab's doubles."""

from __future__ import annotations

import hashlib
import re

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SpecError
from ansible_collections.sdops.webui.plugins.module_utils.models import catalog
from ansible_collections.sdops.webui.plugins.module_utils.models.layout import model_path
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry, parse_source
from helpers.paths import ROOT

ENTRIES = [pytest.param(entry, id=entry.name) for entry in catalog.MODEL_CATALOG.values()]
# whoever adds another publisher has looked at what they publish
PUBLISHERS = {"stabilityai", "sd2-community", "stable-diffusion-v1-5", "madebyollin", "Bingsu"}
LEAKED = re.compile(r"novel.?ai|\bnai\b|anime.?(full|sfw)|final.?pruned|0\.9", re.IGNORECASE)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_whole(entry):
    spec = parse_model_entry(entry.name)
    assert spec == parse_source(entry.source)._replace(
        kind=entry.kind,
        name=entry.filename,
        sha256=entry.sha256,
        config=entry.config,
        size=entry.size,
        trusted=entry.trusted,
    )
    assert model_path("/webui", entry.kind, entry.filename).endswith("/" + entry.filename)
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.size is None or entry.size > 100_000_000
    assert entry.sha256 or not entry.trusted
    assert bool(entry.verified) == bool(entry.sha256 or entry.size)
    assert entry.base and entry.licence and entry.note.endswith(".")
    if entry.config:
        parse_source(entry.config)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_cannot_move(entry):
    spec = parse_model_entry(entry.name)
    if spec.origin == "huggingface":
        # a branch may move, but not the file: another one has another hash and is refused
        assert re.fullmatch(r"[0-9a-f]{40}", spec.locator["revision"]) or entry.sha256
        assert spec.locator["repo"].split("/")[0] in PUBLISHERS
    elif spec.origin == "url":
        assert entry.sha256
    else:
        assert spec.origin == "civitai"
        assert spec.locator["version_id"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_leaked_weights(entry):
    assert not LEAKED.search(" ".join(str(field) for field in entry))


def test_names_files_and_hashes_are_unique():
    entries = [param.values[0] for param in ENTRIES]
    assert (
        catalog.list_model_names()
        == [entry.name for entry in catalog._CATALOG_MODELS]
        == [entry.name for entry in entries]
    )
    places = [(entry.kind, entry.filename) for entry in entries]
    hashes = [entry.sha256 for entry in entries if entry.sha256]
    assert len(set(places)) == len(places)
    assert len(set(hashes)) == len(hashes)


def test_the_tutorials_models_are_there():
    assert {
        "sdxl-base-1.0", "sdxl-refiner-1.0", "sd-2.1", "sd-2.1-base", "sd-2-inpainting", "sd-1.5-pruned",
        "sd-1.5-pruned-emaonly", "chilloutmix", "film-velvia-3", "bad-pictures", "vae-ft-mse-840000", "sdxl-vae",
    } <= set(catalog.list_model_names())  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [("sdxl-base", "sdxl-base-1.0"), ("SDXL-Base-1.0", "sdxl-base-1.0"), ("filmvelvia3", "film-velvia-3")],
)
def test_an_unknown_name_gets_suggestions(written, meant):
    with pytest.raises(catalog.CatalogError, match=f"{re.escape(repr(written))}.*{re.escape(meant)}"):
        catalog.find_model(written)
    with pytest.raises(SpecError, match=f"Did you mean .*{re.escape(meant)}.*hf://.*civitai://"):
        parse_model_entry({"source": written})


def test_a_name_like_none_gets_all_names():
    with pytest.raises(catalog.CatalogError) as caught:
        catalog.find_model("qqqq")
    assert all(name in str(caught.value) for name in catalog.list_model_names())


@pytest.mark.parametrize("source", ["owner/repo", "ftp://host/file", "other:x", "/tmp/a.safetensors"])
def test_what_is_no_word_is_not_looked_up(source):
    with pytest.raises(SpecError, match="none of a name from the catalog, hf://"):
        parse_model_entry(source)


def test_an_air_is_no_name():
    assert parse_model_entry("urn:air:sd1:lora:civitai:33208@112969").locator == {"version_id": "112969"}


def test_the_users_fields_win():
    entry = catalog.find_model("sd-2.1")
    spec = parse_model_entry(
        {"source": "sd-2.1", "name": "mine.safetensors", "config": "file:///a.yaml", "vae": "vae-ft-mse-840000"}
    )
    assert (spec.source, spec.name, spec.kind, spec.sha256) == (
        entry.source,
        "mine.safetensors",
        entry.kind,
        entry.sha256,
    )
    assert (spec.config, spec.vae) == ("file:///a.yaml", catalog.find_model("vae-ft-mse-840000").source)
    assert parse_model_entry({"source": "sd-2.1", "kind": "vae"}).kind == "vae"
    assert parse_model_entry({"source": "sd-2.1", "sha256": entry.sha256.upper()}).size == entry.size
    other = parse_model_entry({"source": "sd-2.1", "sha256": "0" * 64})
    assert (other.sha256, other.size) == ("0" * 64, None)


def test_an_unknown_vae_is_reported_at_once():
    with pytest.raises(SpecError, match="Did you mean .*vae-ft-mse-840000"):
        parse_model_entry({"source": "sd-2.1", "vae": "vae-ft-mse"})


def test_a_name_becomes_a_file_in_its_place(target, lab_server, four_times, run_module):
    arguments = {**target.arguments, "models": ["bad-pictures"], "allow_pickle": True}
    _planned, applied = four_times("model_files", **arguments)
    assert [(m["kind"], m["source"]) for m in applied["models"]] == [
        ("embedding", catalog.find_model("bad-pictures").source),
    ]
    assert target.path("embeddings/bad_pictures.pt").is_file()
    # the same wish spelt out finds what the name has placed, and takes it away again
    spelt = {"source": catalog.find_model("bad-pictures").source, "name": "bad_pictures.pt"}
    assert not run_module("model_files", **{**arguments, "models": [spelt]})["changed"]
    assert run_module("model_files", **{**arguments, "models": [spelt]}, state="absent")["changed"]
    assert not target.path("embeddings/bad_pictures.pt").exists()


def test_a_pickle_by_name_still_needs_permission(target, run_module):
    result = run_module("model_files", **target.arguments, models=["bad-pictures"])
    assert result["failed"]
    assert "allow_pickle" in result["msg"]


def test_the_catalogs_hash_is_demanded_and_the_users_is_stronger(target, run_module):
    """The lab's file is a fake with another hash than the real one."""
    place = target.path("models/Lora/FilmVelvia3.safetensors")
    rejected = run_module("model_files", **target.arguments, models=["film-velvia-3"])
    assert rejected["failed"]
    assert catalog.find_model("film-velvia-3").sha256 in rejected["msg"]
    assert not place.exists()
    spelt = run_module(
        "model_files", **target.arguments, models=[catalog.find_model("film-velvia-3").source], check=True
    )
    options = {"source": "film-velvia-3", "sha256": spelt["models"][0]["sha256"]}
    assert run_module("model_files", **target.arguments, models=[options])["changed"]
    assert hashlib.sha256(place.read_bytes()).hexdigest() == options["sha256"]


def test_the_module_suggests_names(target, run_module):
    result = run_module("model_files", **target.arguments, models=["film-velvia"])
    assert result["failed"]
    assert "film-velvia-3" in result["msg"]


def test_the_page_lists_every_entry():
    page = (ROOT / "docs" / "models.md").read_text()
    assert all(f"| `{entry.name}` |" in page and entry.source in page for entry in catalog.MODEL_CATALOG.values())

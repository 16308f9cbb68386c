"""The running fake: readiness, failures of models and ports, directories, ends."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time

import pytest
from helpers.fake_webui import FAKES, checkout, query, safetensors


def test_an_answer_on_the_port_is_not_a_loaded_model(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.start(model=False, SDOPS_LAB_MODEL_DELAY="1.5")
    instance.wait(f"Running on local URL:  http://127.0.0.1:{instance.port}\n")
    assert instance.call("/internal/ping").json == {}
    before = instance.options()
    assert before["sd_model_checkpoint"] is None and before["sd_checkpoint_hash"] == ""
    [model] = instance.call("/sdapi/v1/sd-models").json
    assert model["title"] == "a.safetensors" and model["sha256"] is None
    instance.wait("Model loaded in ")
    after = instance.options()
    [model] = instance.call("/sdapi/v1/sd-models").json
    assert after["sd_model_checkpoint"] == model["title"] == f"a.safetensors [{model['sha256'][:10]}]"
    assert after["sd_checkpoint_hash"] == model["sha256"]
    log = instance.log.read_text()
    assert f"Loading weights [{model['hash']}] from {model['filename']}\n" in log
    assert log.index("Startup time: ") < log.index("Loading weights")


def test_a_slow_start_answers_no_earlier(instance):
    begin = time.monotonic()
    instance.start(model=False, SDOPS_LAB_START_DELAY="1.5")
    assert instance.call("/internal/ping").json == {}
    assert time.monotonic() - begin > 1.5


def test_without_a_checkpoint_the_server_stays_and_images_fail(instance):
    instance.start(model=False)
    instance.wait("Stable diffusion model failed to load")
    instance.wait("FileNotFoundError: No checkpoints found. When searching for checkpoints, looked at:")
    assert instance.call("/sdapi/v1/sd-models").json == []
    answer = instance.txt2img(prompt="x")
    assert answer.status == 500 and answer.json["error"] == "FileNotFoundError"
    assert answer.json["errors"].startswith("No checkpoints found.") and answer.json["detail"] == ""
    # a VAE cannot be chosen now: the answer is 200, and null is what stays
    assert instance.call("/sdapi/v1/options", {"sd_vae": "some.vae.pt"}).status == 200
    assert instance.options()["sd_vae"] is None
    assert json.loads((instance.data / "config.json").read_text())["sd_vae"] is None
    # a file that arrives later is found on refresh
    instance.model("models/Stable-diffusion", "late.safetensors", "late")
    assert instance.call("/sdapi/v1/refresh-checkpoints", {}).text == "null"
    assert instance.txt2img(prompt="x").status == 200


def test_lists_are_read_again_when_asked(instance):
    """Oracle: modules/api/api.py and extensions-builtin/Lora of 1.10.1; without a model, embeddings cannot be read again."""
    instance.start(model=False)
    instance.wait("Stable diffusion model failed to load")
    answer = instance.call("/sdapi/v1/refresh-embeddings", {})
    assert answer.status == 500 and answer.json["error"] == "AttributeError"
    instance.model("models/Stable-diffusion", "late.safetensors", "late")
    for path, shown, field in (("models/VAE", "sd-vae", "model_name"), ("models/Lora", "loras", "name")):
        assert instance.call(f"/sdapi/v1/{shown}").json == []
        instance.model(path, "new.safetensors", "new")
        assert instance.call(f"/sdapi/v1/{shown}").json == []
        answer = instance.call("/sdapi/v1/refresh-" + shown.replace("sd-", ""), {})
        assert (answer.status, answer.text) == (200, "null")
        assert [entry[field].partition(".")[0] for entry in instance.call(f"/sdapi/v1/{shown}").json] == ["new"]
    instance.call("/sdapi/v1/refresh-checkpoints", {})
    answer = instance.call("/sdapi/v1/refresh-embeddings", {})
    assert (answer.status, answer.text) == (200, "null")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("cut.safetensors", safetensors("x")[:-1], "MetadataIncompleteBuffer"),
        ("page.safetensors", b"<html>please log in</html>", "HeaderTooLarge"),
        ("empty.ckpt", b"", "EOFError"),
        ("hostile.ckpt", b"cos\nsystem\n(S'true'\ntR.", "global 'os/system' is forbidden"),
    ],
)
def test_a_broken_checkpoint_does_not_load(instance, name, content, error):
    path = instance.model("models/Stable-diffusion", name, "x")
    path.write_bytes(content)
    instance.start(model=False)
    instance.wait("Stable diffusion model failed to load")
    instance.wait(error)
    assert instance.txt2img(prompt="x").status == 500
    assert instance.call("/internal/ping").status == 200


def test_port_in_use_ends_the_start(instance):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = instance.site.launch("--skip-prepare-environment", "--data-dir", str(instance.data), "--port", str(port))
        assert done.returncode == 1
        assert f"OSError: Cannot find empty port in range: {port}-{port}." in done.stderr


def test_directories_are_made_and_searched_recursively(instance, tmp_path):
    extra = tmp_path / "extra"
    (extra / "deep").mkdir(parents=True)
    (extra / "deep" / "b.safetensors").write_bytes(safetensors("b"))
    instance.model("models/Stable-diffusion/sub", "a.safetensors", "a")
    instance.model("models/Stable-diffusion", "a.vae.safetensors", "vae")
    instance.model("models/VAE/x", "v.safetensors", "v")
    instance.model("models/LyCORIS", "y.safetensors", "y")
    instance.model("models/Lora/z", "z.safetensors", "z", ss_output_name="zed")
    (instance.data / "models" / "Stable-diffusion" / "sub" / "a.yaml").write_text("model: {}\n")
    settings = tmp_path / "settings.json"
    instance.start("--ckpt-dir", str(extra), "--ui-settings-file", str(settings))
    models = {entry["model_name"]: entry for entry in instance.call("/sdapi/v1/sd-models").json}
    assert sorted(models) == ["deep_b", "sub_a"]
    assert models["sub_a"]["config"].endswith("sub/a.yaml") and models["deep_b"]["config"] is None
    assert [entry["model_name"] for entry in instance.call("/sdapi/v1/sd-vae").json] == [
        "a.vae.safetensors",
        "v.safetensors",
    ]
    loras = {entry["name"]: entry for entry in instance.call("/sdapi/v1/loras").json}
    assert sorted(loras) == ["y", "z"] and loras["z"]["alias"] == "zed"
    for name in (
        "models/hypernetworks",
        "models/ESRGAN",
        "models/GFPGAN",
        "models/Codeformer",
        "embeddings",
        "extensions",
    ):
        assert (instance.data / name).is_dir(), name
    instance.call("/sdapi/v1/options", {"jpeg_quality": 90})
    assert json.loads(settings.read_text())["jpeg_quality"] == 90


def test_sigterm_ends_it_at_once(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.start()
    started = time.monotonic()
    assert instance.stop() in (0, -15)
    assert time.monotonic() - started < 2


def test_without_api_there_is_none_but_the_loras(instance):
    instance.launch()
    instance.wait("Startup time: ")
    assert instance.call("/sdapi/v1/options").status == 404
    assert instance.call("/internal/ping").status == 200
    assert instance.call("/sdapi/v1/loras").json == []


def test_proxies_that_end_the_real_start_end_this_one(instance):
    flags = ("--skip-prepare-environment", "--data-dir", str(instance.data), "--port", str(instance.port))
    done = instance.site.launch(*flags, all_proxy="socks5://127.0.0.1:9", no_proxy="localhost")
    assert done.returncode == 1 and "Using SOCKS proxy" in done.stderr
    done = instance.site.launch(*flags, ALL_PROXY="socks5h://127.0.0.1:9")
    assert done.returncode == 1 and "Unknown scheme for proxy URL" in done.stderr
    done = instance.site.launch(*flags, http_proxy="http://127.0.0.1:9")
    assert done.returncode == 1 and "When localhost is not accessible" in done.stderr


def test_extensions_load_and_are_listed_by_what_git_says(instance):
    root = instance.data / "extensions"
    root.mkdir(exist_ok=True)
    commits = {name: checkout(FAKES / "extensions" / name, root / name) for name in EXTENSIONS}
    checkout(FAKES / "extensions" / "adetailer", root / "detached")
    subprocess.run(["git", "-C", str(root / "detached"), "checkout", "--quiet", "--detach"], check=True)
    (root / "broken" / "scripts").mkdir(parents=True)
    (root / "broken" / "scripts" / "boom.py").write_text("raise RuntimeError('lab')\n")
    (instance.data / "config.json").write_text(json.dumps({"disabled_extensions": ["detached"]}))
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.start("--addnet-max-model-count", "1", "--lobe-debug")
    log = instance.log.read_text()
    assert "*** Error loading script: boom.py" in log and "RuntimeError: lab" in log
    listed = {entry["name"]: entry for entry in instance.call("/sdapi/v1/extensions").json}
    # a checkout on no branch is not listed, as in the original; nor is one without git
    assert sorted(listed) == sorted(EXTENSIONS)
    for name, entry in listed.items():
        assert entry["commit_hash"] == commits[name] and entry["version"] == commits[name][:8]
        assert entry["remote"] == f"https://git.lab.test/{name}.git"
        assert entry["branch"] == "master" and entry["enabled"] is True
    network = root / "sd-webui-additional-networks" / "models" / "lora" / "film.safetensors"
    network.write_bytes(safetensors("film"))
    scripts = {"additional networks for generating": {"args": [True, "film", "nope"]}}
    answer = instance.txt2img(prompt="x", alwayson_scripts=scripts)
    assert "AddNet Model 1: film" in json.loads(answer.json["info"])["infotexts"][0]
    answer = instance.txt2img(prompt="x", alwayson_scripts={"nope": {"args": []}})
    assert answer.status == 422 and answer.json["detail"] == "Script 'nope' not found"


EXTENSIONS = ("sd-webui-lobe-theme", "sd-webui-additional-networks")


def test_adetailer_needs_its_requirement(instance):
    """Its script imports rich: where that is missing the panel is missing too, and the server runs all the same."""
    shutil.copytree(FAKES / "extensions" / "adetailer", instance.data / "extensions" / "adetailer")
    blocker = instance.data / "blocker"
    blocker.mkdir()
    (blocker / "rich.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\")\n")
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.start(PYTHONPATH=f"{blocker}:{instance.site.env['PYTHONPATH']}")
    instance.wait("*** Error loading script: _adetailer.py")
    scripts = {"ADetailer": {"args": [{"ad_model": "face_yolov8n.pt"}]}}
    answer = instance.txt2img(prompt="x", alwayson_scripts=scripts)
    assert answer.status == 422 and answer.json["detail"] == "Script 'ADetailer' not found"
    instance.stop()
    (blocker / "rich.py").write_text("")
    instance.log.unlink()
    instance.start("--ad-no-huggingface", PYTHONPATH=f"{blocker}:{instance.site.env['PYTHONPATH']}")
    answer = instance.txt2img(prompt="x", alwayson_scripts=scripts)
    assert "ADetailer model: face_yolov8n.pt" in json.loads(answer.json["info"])["infotexts"][0]


# --- authentication ---------------------------------------------------------------------------------------------------
OPEN = ("/internal/ping", "/internal/profile-startup", "/internal/sysinfo", "/openapi.json")


def test_gradio_auth_alone_leaves_the_api_open(instance, tmp_path):
    users = tmp_path / "users"
    users.write_text("ada:one,bob:t:wo\n\neve:three\n")
    instance.start("--gradio-auth-path", str(users), model=False)
    for path in (*OPEN, "/sdapi/v1/options"):
        assert instance.call(path).status == 200, path
    assert instance.call("/config").status == 401
    page = instance.call("/")
    assert page.status == 200 and 'action="/login"' in page.text and "checkpoint" not in page.text
    assert "fake" in page.text and instance.call("/login").status == 200
    wrong = instance.call("/login", query(username="ada", password="two"))
    assert wrong.status == 400 and wrong.json == {"detail": "Incorrect credentials."}
    for user, password in (("ada", "one"), ("bob", "t:wo"), ("eve", "three")):
        good = instance.call("/login", query(username=user, password=password))
        assert good.status == 200 and good.json == {"success": True}
    [cookie] = [value.split(";")[0] for value in good.headers.get_all("Set-Cookie") if "unsecure" in value]
    assert instance.call("/config", Cookie=cookie).status == 200
    page = instance.call("/", Cookie=cookie)
    assert "no model is loaded" in page.text and "eve" in page.text
    assert instance.call("/config", Cookie="access-token-unsecure=guess").status == 401
    from_browser = instance.call("/login", query(username="ada", password="one"), Accept="text/html")
    assert from_browser.status == 303 and from_browser.headers["Location"] == "/"


def test_api_auth_is_basic_and_leaves_internal_open(instance):
    instance.model("models/Stable-diffusion", "a.safetensors", "a")
    instance.start("--api-auth", "lab:pass,two:words")
    for path in OPEN:
        assert instance.call(path).status == 200, path
    assert instance.call("/").status == 200 and instance.call("/config").status == 200
    for path in ("options", "sd-models", "sd-vae", "progress", "extensions", "embeddings"):
        answer = instance.call(f"/sdapi/v1/{path}")
        assert answer.status == 401 and answer.json["detail"] == "Not authenticated", path
        assert "WWW-Authenticate" not in answer.headers  # lost in the original too: clients must send Basic unasked
        assert instance.call(f"/sdapi/v1/{path}", auth="two:words").status == 200, path
    wrong = instance.call("/sdapi/v1/options", auth="lab:words")
    assert wrong.status == 401 and wrong.json["detail"] == "Incorrect username or password"
    assert instance.call("/sdapi/v1/options", Authorization="Basic !").status == 401
    assert instance.call("/sdapi/v1/txt2img", {}).status == 401
    for path in ("checkpoints", "vae", "embeddings"):
        assert instance.call(f"/sdapi/v1/refresh-{path}", {}).status == 401, path
    # brought by an extension, outside the password
    assert instance.call("/sdapi/v1/loras").status == 200
    assert instance.call("/sdapi/v1/refresh-loras", {}).status == 200


def test_sysinfo_reports_commandline_args_but_hides_an_argument_of_its_own(instance):
    instance.start("--api-auth", "lab:in-argv", model=False, COMMANDLINE_ARGS="--api-log --gradio-auth me:in-env")
    report = instance.call("/internal/sysinfo").json
    assert report["Environment"]["COMMANDLINE_ARGS"] == "--api-log --gradio-auth me:in-env"
    assert "lab:in-argv" not in report["Commandline"] and report["Commandline"].count("<hidden>") == 2
    instance.wait("lab:in-argv")  # the line that prints all arguments

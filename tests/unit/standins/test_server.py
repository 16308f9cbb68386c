"""The running fake: readiness, failures of models and ports, directories, ends."""

from __future__ import annotations

import datetime
import json
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_webui import FAKES, checkout, query, safetensors


def test_an_answer_on_the_port_is_not_a_loaded_model(box):
    box.model("models/Stable-diffusion", "a.safetensors", "a")
    box.start(model=False, SDOPS_LAB_MODEL_DELAY="1.5")
    box.wait(f"Running on local URL:  http://127.0.0.1:{box.port}\n")
    assert box.call("/internal/ping").json == {}
    before = box.options()
    assert before["sd_model_checkpoint"] is None and before["sd_checkpoint_hash"] == ""
    [model] = box.call("/sdapi/v1/sd-models").json
    assert model["title"] == "a.safetensors" and model["sha256"] is None
    box.wait("Model loaded in ")
    after = box.options()
    [model] = box.call("/sdapi/v1/sd-models").json
    assert after["sd_model_checkpoint"] == model["title"] == f"a.safetensors [{model['sha256'][:10]}]"
    assert after["sd_checkpoint_hash"] == model["sha256"]
    log = box.log.read_text()
    assert f"Loading weights [{model['hash']}] from {model['filename']}\n" in log
    assert log.index("Startup time: ") < log.index("Loading weights")


def test_without_a_checkpoint_the_server_stays_and_images_fail(box):
    box.start(model=False)
    box.wait("Stable diffusion model failed to load")
    box.wait("FileNotFoundError: No checkpoints found. When searching for checkpoints, looked at:")
    assert box.call("/sdapi/v1/sd-models").json == []
    answer = box.txt2img(prompt="x")
    assert answer.status == 500 and answer.json["error"] == "FileNotFoundError"
    assert answer.json["errors"].startswith("No checkpoints found.") and answer.json["detail"] == ""
    answer = box.call("/sdapi/v1/refresh-embeddings", {})
    assert answer.status == 500 and answer.json["error"] == "AttributeError"
    # a VAE cannot be chosen now: the answer is 200, and null is what stays
    assert box.call("/sdapi/v1/options", {"sd_vae": "some.vae.pt"}).status == 200
    assert box.options()["sd_vae"] is None
    assert json.loads((box.data / "config.json").read_text())["sd_vae"] is None
    # a file that arrives later is found on refresh
    box.model("models/Stable-diffusion", "late.safetensors", "late")
    assert box.call("/sdapi/v1/refresh-checkpoints", {}).text == "null"
    assert box.txt2img(prompt="x").status == 200


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("cut.safetensors", safetensors("x")[:-1], "MetadataIncompleteBuffer"),
        ("page.safetensors", b"<html>please log in</html>", "HeaderTooLarge"),
        ("empty.ckpt", b"", "EOFError"),
        ("hostile.ckpt", b"cos\nsystem\n(S'true'\ntR.", "global 'os/system' is forbidden"),
    ],
)
def test_a_broken_checkpoint_does_not_load(box, name, content, error):
    path = box.model("models/Stable-diffusion", name, "x")
    path.write_bytes(content)
    box.start(model=False)
    box.wait("Stable diffusion model failed to load")
    box.wait(error)
    assert box.txt2img(prompt="x").status == 500
    assert box.call("/internal/ping").status == 200


def test_port_in_use_ends_the_start(box):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = box.site.launch("--skip-prepare-environment", "--data-dir", str(box.data), "--port", str(port))
        assert done.returncode == 1
        assert f"OSError: Cannot find empty port in range: {port}-{port}." in done.stderr
        flags = ("--skip-prepare-environment", "--nowebui", "--data-dir", str(box.data), "--port", str(port))
        done = box.site.launch(*flags)
        assert done.returncode == 1 and "address already in use" in done.stderr.lower()


def test_directories_are_made_and_searched_recursively(box, tmp_path):
    extra = tmp_path / "extra"
    (extra / "deep").mkdir(parents=True)
    (extra / "deep" / "b.safetensors").write_bytes(safetensors("b"))
    box.model("models/Stable-diffusion/sub", "a.safetensors", "a")
    box.model("models/Stable-diffusion", "a.vae.safetensors", "vae")
    box.model("models/VAE/x", "v.safetensors", "v")
    box.model("models/LyCORIS", "y.safetensors", "y")
    box.model("models/Lora/z", "z.safetensors", "z", ss_output_name="zed")
    (box.data / "models" / "Stable-diffusion" / "sub" / "a.yaml").write_text("model: {}\n")
    settings = tmp_path / "settings.json"
    box.start("--ckpt-dir", str(extra), "--ui-settings-file", str(settings))
    models = {entry["model_name"]: entry for entry in box.call("/sdapi/v1/sd-models").json}
    assert sorted(models) == ["deep_b", "sub_a"]
    assert models["sub_a"]["config"].endswith("sub/a.yaml") and models["deep_b"]["config"] is None
    assert [entry["model_name"] for entry in box.call("/sdapi/v1/sd-vae").json] == [
        "a.vae.safetensors",
        "v.safetensors",
    ]
    loras = {entry["name"]: entry for entry in box.call("/sdapi/v1/loras").json}
    assert sorted(loras) == ["y", "z"] and loras["z"]["alias"] == "zed"
    for name in (
        "models/hypernetworks",
        "models/ESRGAN",
        "models/GFPGAN",
        "models/Codeformer",
        "embeddings",
        "extensions",
    ):
        assert (box.data / name).is_dir(), name
    box.call("/sdapi/v1/options", {"jpeg_quality": 90})
    assert json.loads(settings.read_text())["jpeg_quality"] == 90
    box.model("models/Lora", "new.safetensors", "new")
    assert box.call("/sdapi/v1/refresh-loras", {}).text == "null"
    assert "new" in [entry["name"] for entry in box.call("/sdapi/v1/loras").json]


def test_stop_calls(box):
    box.model("models/Stable-diffusion", "a.safetensors", "a")
    box.start()
    assert box.call("/sdapi/v1/server-stop", {}).status == 404  # not without its flag
    started = time.monotonic()
    assert box.stop() in (0, -15)
    assert time.monotonic() - started < 2
    box.log.unlink()
    box.start("--api-server-stop")
    assert box.call("/sdapi/v1/server-restart", {}).status == 501
    assert box.call("/sdapi/v1/server-stop", {}).text == "Stopping."
    assert box.process.wait(timeout=10) == 0
    box.wait("Stopping server...")


def test_nowebui_has_the_api_and_nothing_else(box):
    box.model("models/Stable-diffusion", "a.safetensors", "a")
    box.start("--nowebui", "--api-auth", "lab:pw")
    box.wait("Launching API server with arguments: ")
    assert box.call("/internal/ping").status == 404 and box.call("/").status == 404
    assert box.call("/sdapi/v1/sd-models").status == 401
    assert box.call("/sdapi/v1/sd-models", auth="lab:pw").status == 200
    assert box.stop() == 0


def test_without_api_there_is_none_but_the_loras(box):
    box.launch()
    box.wait("Startup time: ")
    assert box.call("/sdapi/v1/options").status == 404
    assert box.call("/internal/ping").status == 200
    assert box.call("/sdapi/v1/loras").json == []


def test_tls(box, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(secret.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2074))
    cert.write_bytes(builder.sign(secret, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    formats = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, *formats))
    box.launch("--tls-keyfile", str(key), "--tls-certfile", str(cert))
    box.wait("Startup time: ")
    box.wait(f"Running on local URL:  https://127.0.0.1:{box.port}")
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", box.port)) as raw, context.wrap_socket(raw) as line:
        line.sendall(b"GET /internal/ping HTTP/1.0\r\n\r\n")
        assert b"200" in line.recv(64)


def test_proxies_that_end_the_real_start_end_this_one(box):
    flags = ("--skip-prepare-environment", "--data-dir", str(box.data), "--port", str(box.port))
    done = box.site.launch(*flags, all_proxy="socks5://127.0.0.1:9", no_proxy="localhost")
    assert done.returncode == 1 and "Using SOCKS proxy" in done.stderr
    done = box.site.launch(*flags, ALL_PROXY="socks5h://127.0.0.1:9")
    assert done.returncode == 1 and "Unknown scheme for proxy URL" in done.stderr
    done = box.site.launch(*flags, http_proxy="http://127.0.0.1:9")
    assert done.returncode == 1 and "When localhost is not accessible" in done.stderr


def test_extensions_load_and_are_listed_by_what_git_says(box):
    root = box.data / "extensions"
    root.mkdir(exist_ok=True)
    commits = {name: checkout(FAKES / "extensions" / name, root / name) for name in EXTENSIONS}
    checkout(FAKES / "extensions" / "adetailer", root / "detached")
    subprocess.run(["git", "-C", str(root / "detached"), "checkout", "--quiet", "--detach"], check=True)
    (root / "broken" / "scripts").mkdir(parents=True)
    (root / "broken" / "scripts" / "boom.py").write_text("raise RuntimeError('lab')\n")
    (box.data / "config.json").write_text(json.dumps({"disabled_extensions": ["detached"]}))
    box.model("models/Stable-diffusion", "a.safetensors", "a")
    box.start("--addnet-max-model-count", "1", "--lobe-debug")
    log = box.log.read_text()
    assert "*** Error loading script: boom.py" in log and "RuntimeError: lab" in log
    listed = {entry["name"]: entry for entry in box.call("/sdapi/v1/extensions").json}
    # a checkout on no branch is not listed, as in the original; nor is one without git
    assert sorted(listed) == sorted(EXTENSIONS)
    for name, entry in listed.items():
        assert entry["commit_hash"] == commits[name] and entry["version"] == commits[name][:8]
        assert entry["remote"] == f"https://git.lab.test/{name}.git"
        assert entry["branch"] == "master" and entry["enabled"] is True
    assert "lobe-theme.js" in box.call("/").text
    script = box.call("/file=extensions/sd-webui-lobe-theme/javascript/lobe-theme.js")
    assert script.status == 200 and "fake" in script.text
    assert box.call("/file=extensions/sd-webui-lobe-theme/preload.py").status == 404
    assert box.call("/file=extensions/../config.json").status == 404
    network = root / "sd-webui-additional-networks" / "models" / "lora" / "film.safetensors"
    network.write_bytes(safetensors("film"))
    scripts = {"additional networks for generating": {"args": [True, "film", "nope"]}}
    answer = box.txt2img(prompt="x", alwayson_scripts=scripts)
    assert "AddNet Model 1: film" in json.loads(answer.json["info"])["infotexts"][0]
    answer = box.txt2img(prompt="x", alwayson_scripts={"nope": {"args": []}})
    assert answer.status == 422 and answer.json["detail"] == "Script 'nope' not found"


EXTENSIONS = ("sd-webui-lobe-theme", "sd-webui-additional-networks")


def test_adetailer_needs_its_requirement(box):
    """Its script imports rich: where that is missing the panel is missing too, and the server runs all the same."""
    shutil.copytree(FAKES / "extensions" / "adetailer", box.data / "extensions" / "adetailer")
    blocker = box.data / "blocker"
    blocker.mkdir()
    (blocker / "rich.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\")\n")
    box.model("models/Stable-diffusion", "a.safetensors", "a")
    box.start(PYTHONPATH=f"{blocker}:{box.site.env['PYTHONPATH']}")
    box.wait("*** Error loading script: _adetailer.py")
    assert "adetailer" not in box.call("/sdapi/v1/scripts").json["txt2img"]
    box.stop()
    (blocker / "rich.py").write_text("")
    box.log.unlink()
    box.start("--ad-no-huggingface", PYTHONPATH=f"{blocker}:{box.site.env['PYTHONPATH']}")
    assert "adetailer" in box.call("/sdapi/v1/scripts").json["txt2img"]
    answer = box.txt2img(prompt="x", alwayson_scripts={"ADetailer": {"args": [{"ad_model": "face_yolov8n.pt"}]}})
    assert "ADetailer model: face_yolov8n.pt" in json.loads(answer.json["info"])["infotexts"][0]


# --- authentication ---------------------------------------------------------------------------------------------------
OPEN = ("/internal/ping", "/internal/pending-tasks", "/internal/sysinfo", "/docs", "/openapi.json")


def test_gradio_auth_alone_leaves_the_api_open(box, tmp_path):
    users = tmp_path / "users"
    users.write_text("ada:one,bob:t:wo\n\neve:three\n")
    box.start("--gradio-auth-path", str(users), model=False)
    for path in (*OPEN, "/sdapi/v1/options", "/sdapi/v1/cmd-flags"):
        assert box.call(path).status == 200, path
    for path in ("/config", "/queue/status", "/login_check"):
        assert box.call(path).status == 401, path
    page = box.call("/")
    assert page.status == 200 and 'action="/login"' in page.text and "checkpoint" not in page.text
    assert "fake" in page.text and box.call("/login").status == 200
    wrong = box.call("/login", query(username="ada", password="two"))
    assert wrong.status == 400 and wrong.json == {"detail": "Incorrect credentials."}
    for user, password in (("ada", "one"), ("bob", "t:wo"), ("eve", "three")):
        good = box.call("/login", query(username=user, password=password))
        assert good.status == 200 and good.json == {"success": True}
    [cookie] = [value.split(";")[0] for value in good.headers.get_all("Set-Cookie") if "unsecure" in value]
    assert box.call("/config", Cookie=cookie).status == 200
    page = box.call("/", Cookie=cookie)
    assert "no model is loaded" in page.text and "eve" in page.text
    assert box.call("/config", Cookie="access-token-unsecure=guess").status == 401
    from_browser = box.call("/login", query(username="ada", password="one"), Accept="text/html")
    assert from_browser.status == 303 and from_browser.headers["Location"] == "/"


def test_api_auth_is_basic_and_leaves_internal_open(box):
    box.model("models/Stable-diffusion", "a.safetensors", "a")
    box.start("--api-auth", "lab:pass,two:words")
    for path in OPEN:
        assert box.call(path).status == 200, path
    assert box.call("/").status == 200 and box.call("/config").status == 200
    for path in ("options", "sd-models", "memory", "progress", "extensions", "cmd-flags", "samplers", "embeddings"):
        answer = box.call(f"/sdapi/v1/{path}")
        assert answer.status == 401 and answer.json["detail"] == "Not authenticated", path
        assert "WWW-Authenticate" not in answer.headers  # lost in the original too: clients must send Basic unasked
        assert box.call(f"/sdapi/v1/{path}", auth="two:words").status == 200, path
    wrong = box.call("/sdapi/v1/options", auth="lab:words")
    assert wrong.status == 401 and wrong.json["detail"] == "Incorrect username or password"
    assert box.call("/sdapi/v1/options", Authorization="Basic !").status == 401
    assert box.call("/sdapi/v1/txt2img", {}).status == 401
    assert box.call("/sdapi/v1/loras").status == 200  # brought by an extension, outside the password


def test_sysinfo_tells_commandline_args_but_hides_an_argument_of_its_own(box):
    box.start("--api-auth", "lab:in-argv", model=False, COMMANDLINE_ARGS="--api-log --gradio-auth me:in-env")
    report = box.call("/internal/sysinfo").json
    assert report["Environment"]["COMMANDLINE_ARGS"] == "--api-log --gradio-auth me:in-env"
    assert "lab:in-argv" not in report["Commandline"] and report["Commandline"].count("<hidden>") == 2
    assert box.call("/sdapi/v1/cmd-flags", auth="lab:in-argv").json["api_auth"] == "lab:in-argv"
    box.wait("lab:in-argv")  # the line that prints all arguments
    box.wait("/sdapi/v1/cmd-flags")  # the line about the call comes when the answer is out
    box.wait("API 20")

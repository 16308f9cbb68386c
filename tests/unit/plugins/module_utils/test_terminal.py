"""Text of servers on its way to a terminal. The oracle is Unicode's own table of categories, by unicodedata."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.sanitize import sanitize_name
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from ansible_collections.sdops.webui.plugins.module_utils.git.command import explain_failure
from ansible_collections.sdops.webui.plugins.module_utils.models.model_file import ModelFile
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import ModelSpec
from ansible_collections.sdops.webui.plugins.module_utils.terminal import printable
from ansible_collections.sdops.webui.plugins.module_utils.transfer.responses import response_summary
from ansible_collections.sdops.webui.plugins.plugin_utils import progress_view

ACTIVE = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) in ("Cc", "Cf", "Zl", "Zp")]
FORGED = "Nice\r\nfatal: [box]: FAILED!\x1b[2J\x9b31m\b\u202ecod\u2028ok: [box]\u0085"


def is_clean(text: str) -> bool:
    return not any(character in text for character in ACTIVE)


def item(**fields) -> dict:
    found = ModelFile(ModelSpec("https://host.test/x", "url", {}, name=fields.pop("name", None)))
    found.path = fields.get("path", "")
    found.remote = found.remote._replace(revision=fields.get("revision"))
    found.reason = fields.get("reason", "")
    return found.result()


@pytest.mark.parametrize(
    "show",
    [
        printable,
        lambda text: str(SdopsError(text)),
        lambda text: str(SdopsError(f"The object failed: {text}. Run again.")),
        lambda text: sanitize_name(f"a{text}b.safetensors"),
        progress_view.short_name,
        lambda text: "".join(
            str(value)
            for value in item(name=text, revision=text, reason=text, path="/x/" + text).values()
            if value != "/x/" + text
        ),
    ],
    ids=["printable", "error", "error in a sentence", "file name", "progress", "result"],
)
def test_nothing_that_a_terminal_acts_upon_is_shown(show):
    assert len(ACTIVE) > 200
    for character in ACTIVE:
        assert is_clean(show("a" + character + "b")), hex(ord(character))
    assert is_clean(show(FORGED))


def test_other_alphabets_stay():
    text = "模型　“café” – naïve 🎨"
    assert printable(text) == text.replace("\u3000", " ")
    assert sanitize_name("模型-é🎨.safetensors") == "模型-é🎨.safetensors"


def test_details_are_lines_that_cannot_pass_for_results():
    text = str(SdopsError("It failed. The end of its log:", details="one\nfatal: [box]: FAILED!\x1b[2J"))
    assert text.split("\n") == ["It failed. The end of its log:", "    one", "    fatal: [box]: FAILED!?[2J"]


def test_long_text_takes_little_time():
    assert len(printable("a" + " \n" * 500_000)) == 1_000_001


def test_the_words_of_git_and_of_an_error_body():
    assert is_clean(str(SdopsError(explain_failure("ext", "https://host.test/x", "cloning", "error: 403 " + FORGED))))

    class Answer:
        content = json.dumps({"error": FORGED}).encode()

    assert is_clean(str(SdopsError(f"It answered 403: {response_summary(Answer())}")))


def test_a_name_on_civitai_forges_no_result(serve, run_module, tmp_path):
    version = {"id": 7, "model": {"name": FORGED, "type": "LORA"}, "files": []}
    here, _seen = serve(
        lambda path, headers: (
            (200, {"Content-Type": "application/json"}, json.dumps(version).encode())
            if "/api/v1/" in path
            else (403, {"Content-Type": "application/json"}, json.dumps({"error": FORGED}).encode())
        )
    )
    webui = tmp_path / "webui"
    webui.mkdir()
    found = run_module(
        "model_files", webui_dir=str(webui), civitai_endpoint=here, retries=0, timeout=5, models=["civitai://7"]
    )
    assert found["failed"]
    texts = [found["msg"], *(str(value) for entry in found["models"] for value in entry.values())]
    assert "Nice" in "".join(texts)
    assert all(is_clean(line) for text in texts for line in text.split("\n"))
    assert not any(line.startswith(("fatal", "ok:")) for text in texts for line in text.split("\n"))

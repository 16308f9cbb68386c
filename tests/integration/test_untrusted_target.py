"""A compromised target lies about its files: nothing is written outside of the directory for them.

Oracle: the file system itself, by what lies where after the run, and os.path.realpath of all that was written.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

OUTPUTS = str(ROOT / "playbooks/fetch_outputs.yml")
# the "host's" Python: the module find answers what the test wants, all others work
LIAR = """#!{python}
import os, sys
if any("AnsiballZ_find" in word for word in sys.argv):
    sys.stdout.write(open({answer!r}).read())
else:
    os.execv({python!r}, [{python!r}] + sys.argv[1:])
"""


@pytest.fixture
def host(site, monkeypatch):
    """A box with one real image, whose module find can be made to lie."""
    monkeypatch.setenv("ANSIBLE_PIPELINING", "0")
    outputs = site.base / "data/stable-diffusion-webui/outputs"
    (outputs / "day").mkdir(parents=True)
    (outputs / "day/good.png").write_bytes(b"an image" * 1000)
    (site.base / "x.png").write_bytes(b"evil")
    liar = site.base / "python-of-the-host"
    site.variables["ansible_python_interpreter"] = str(liar)
    site.variables["sdops_device"] = "cpu"
    site.outputs = outputs
    site.here = site.base / "artifacts/box/outputs"

    def answer(*entries: object) -> None:
        path = site.base / "answer.json"
        path.write_text(json.dumps({"changed": False, "files": list(entries), "matched": len(entries)}))
        liar.write_text(LIAR.format(python=sys.executable, answer=str(path)))
        liar.chmod(0o755)

    site.answer = answer
    return site


def entry(path: object, size: object = 4) -> dict:
    return {"path": path, "size": size, "mode": "0644"}


def written(site) -> list[str]:
    """What is new below the artifacts, and everything that it leads to."""
    artifacts = site.base / "artifacts"
    found = [p for p in artifacts.rglob("*") if p.is_file()]
    assert all(os.path.realpath(p).startswith(str(artifacts)) for p in found)
    return sorted(str(p.relative_to(artifacts)) for p in found)


HOSTILE = {
    "upwards": lambda o: entry(f"{o}/../../../x.png"),
    "upwards-in-the-middle": lambda o: entry(f"{o}/day/../../../../x.png"),
    "absolute": lambda o: entry("/etc/hostname", 10),
    "relative": lambda o: entry("../../x.png"),
    "the-directory-itself": lambda o: entry(f"{o}/."),
    "beginning-alike": lambda o: entry(f"{o}-other/x.png"),
    "newline": lambda o: entry(f"{o}/a\n!touch pwned.png"),
    "escape": lambda o: entry(f"{o}/\x1b[2J.png"),
    "nul": lambda o: entry(f"{o}/a\0.png"),
    "bidi": lambda o: entry(f"{o}/gnp.\u202eexe.png"),
    "long": lambda o: entry(f"{o}/{'x' * 300}.png"),
    "huge": lambda o: entry(f"{o}/day/good.png", 10**15),
    "negative": lambda o: entry(f"{o}/day/good.png", -1),
    "size-is-a-text": lambda o: entry(f"{o}/day/good.png", "8000"),
    "path-is-a-list": lambda o: entry([f"{o}/day/good.png"]),
    "path-is-a-template": lambda o: entry("{{ lookup('pipe', 'touch pwned') }}"),
    "no-mapping": lambda o: "x",
    "nothing": lambda o: None,
}


def test_no_path_of_the_host_leads_elsewhere(host):
    before = set(host.files())
    bad = [HOSTILE[kind](host.outputs) for kind in sorted(HOSTILE)]
    host.answer(*bad, entry(f"{host.outputs}/day/good.png", 8000))
    result = host.play(OUTPUTS)
    assert result.returncode != 0, result.stdout
    assert written(host) == ["box/outputs/day/good.png"]
    new = {name for name in set(host.files()) - before if not name.startswith(("artifacts", "answer", "python-of"))}
    assert new == set()
    output = " ".join(result.stdout.split())
    assert "box: not everything was fetched" in output and f"and {len(bad) - 10} more" in output
    for part in (
        "/etc/hostname",
        "../../x.png",
        "-other/x.png",
        "1000000000000000 bytes",
        "lookup(",
        "202eexe.png",
    ):
        assert part in output, part
    assert not {"\x1b", "\0", "\u202e"} & set(result.stdout)


def test_nothing_is_fetched_that_was_not_requested(host):
    """Another file could be run by a tool that looks for it in the directory of the images."""
    names = ["ansible.cfg", ".envrc", "day/conftest.py", "x.png/run.sh", "X.PNG", "x.png "]
    for name in names:
        path = host.outputs / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"evil")
    host.answer(*(entry(f"{host.outputs}/{name}") for name in names), entry(f"{host.outputs}/day/good.png", 8000))
    result = host.play(OUTPUTS)
    output = " ".join(result.stdout.split())
    assert result.returncode != 0, result.stdout
    assert [name for name in names if f'/{name}" has a name that was not asked for' not in output] == [], output
    assert written(host) == ["box/outputs/day/good.png"]


def test_a_link_on_the_controller_is_not_followed_out_of_the_directory(host):
    outside = host.base / "outside"
    outside.mkdir()
    host.here.mkdir(parents=True)
    (host.here / "day").symlink_to(outside)
    host.answer(entry(f"{host.outputs}/day/good.png", 8000))
    result = host.play(OUTPUTS)
    assert result.returncode != 0 and "leads out of" in result.stdout
    assert list(outside.iterdir()) == []


def test_the_directory_itself_may_be_a_link(host):
    disk = host.base / "artifacts/disk"
    disk.mkdir(parents=True)
    host.here.parent.mkdir()
    host.here.symlink_to(disk)
    host.answer(entry(f"{host.outputs}/day/good.png", 8000))
    assert host.play(OUTPUTS).returncode == 0
    assert (disk / "day/good.png").read_bytes() == b"an image" * 1000


def test_a_file_that_is_larger_than_announced(host):
    with (host.outputs / "day/growing.png").open("wb") as handle:
        handle.truncate(64 * 1024**2)
    host.answer(entry(f"{host.outputs}/day/growing.png", 10))
    result = host.play(OUTPUTS)
    assert result.returncode != 0 and "larger than it should be" in " ".join(result.stdout.split())
    assert written(host) == []


def test_facts_do_not_become_variables(host, monkeypatch):
    """Ansible's own default takes facts for variables: ours were the inventory's, and a path on the controller is one of them."""
    monkeypatch.setenv("ANSIBLE_INJECT_FACT_VARS", "true")
    path = host.base / "answer.json"
    host.answer()
    facts = {"webui_service_outputs_dir": f"{host.base}/pwned"}
    files = [entry(f"{host.outputs}/day/good.png", 8000)]
    path.write_text(json.dumps({"changed": False, "files": files, "ansible_facts": facts}))
    play = host.base / "play.yml"
    role = "ansible.builtin.include_role: {name: sdops.webui.webui_service, tasks_from: fetch_outputs}"
    find = 'ansible.builtin.find: {paths: "/x"}'
    play.write_text(f"- hosts: webui\n  gather_facts: true\n  tasks:\n    - {find}\n    - {role}\n")
    result = host.play(str(play))
    assert result.returncode != 0 and "facts with the names of variables" in " ".join(result.stdout.split())
    assert not (host.base / "pwned").exists()


def test_present_files_are_skipped_and_odd_names_are_fetched(site):
    """With the real find: spaces, quotes, globs, a subdirectory; then a second run, a check, and one more image."""
    outputs = site.base / "data/stable-diffusion-webui/outputs"
    (outputs / "day one").mkdir(parents=True)
    names = ['day one/it\'s "here".png', "[a]*?.png", "-rf.png", "$(touch x);`y`.png", "图.png"]
    for name in names:
        (outputs / name).write_bytes(name.encode() * 7)
    (outputs / "leads-out.png").symlink_to("/etc/passwd")
    (outputs / "model.bin").write_bytes(b"not asked for")
    here = site.base / "artifacts/box/outputs"
    result = site.play(OUTPUTS, "--check", "--diff", sdops_device="cpu")
    assert result.returncode == 0 and "changed=1" in result.stdout and "[a]*?.png" in result.stdout, result.stdout
    assert not here.exists()
    result = site.play(OUTPUTS, sdops_device="cpu")
    assert result.returncode == 0 and "changed=1" in result.stdout, result.stdout
    assert {str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()} == set(names)
    assert all((here / name).read_bytes() == name.encode() * 7 for name in names)
    (here / names[1]).write_bytes(b"cut")
    saved = (here / names[0]).stat().st_mtime_ns
    result = site.play(OUTPUTS, sdops_device="cpu")
    assert "changed=1" in result.stdout and (here / names[1]).read_bytes() == names[1].encode() * 7
    assert (here / names[0]).stat().st_mtime_ns == saved
    assert "changed=0" in site.play(OUTPUTS, sdops_device="cpu").stdout


def test_credentials_are_fetched_and_private(site, monkeypatch):
    play = site.base / "play.yml"
    play.write_text(
        "- hosts: webui\n  gather_facts: true\n  tasks:\n"
        "    - ansible.builtin.include_role: {name: sdops.webui.webui_service, tasks_from: preflight, public: true}\n"
        "    - ansible.builtin.include_role: {name: sdops.webui.webui_service, tasks_from: credentials}\n"
    )
    (site.base / "home/secrets").mkdir(parents=True)
    given = {"sdops_device": "cpu", "ansible_python_interpreter": sys.executable, "webui_service_smoke_test": "false"}
    for changed in ("changed=2", "changed=0"):
        result = site.play(str(play), "-vvvv", **given)
        assert result.returncode == 0 and changed in result.stdout, result.stdout[-3000:]
        secret = Path(site.base / "artifacts/box/webui-credentials").read_text()
        assert secret == Path(site.base / "home/secrets/webui-credentials").read_text()
        assert secret.split(":")[1].strip() not in result.stdout
    saved = site.base / "artifacts/box"
    assert saved.stat().st_mode & 0o777 == 0o700
    assert (saved / "webui-credentials").stat().st_mode & 0o777 == 0o600
    (site.base / "home/secrets/webui-credentials").write_bytes(b"sdops:" + b"x" * 5000)
    result = site.play(str(play), **given)
    assert result.returncode != 0 and "larger than it should be" in " ".join(result.stdout.split())
    assert (saved / "webui-credentials").read_text() == secret


@pytest.mark.parametrize("name", ["a/../../evil", ".."])
def test_the_name_of_a_host_is_one_directory(site, name):
    play = site.base / "play.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role: {name: sdops.webui.sdops, public: true}\n"
        '      vars: {__sdops_initialised: true}\n    - ansible.builtin.debug: {msg: "<{{ sdops_host_artifacts }}>"}\n'
    )
    result = site.play(str(play), "-i", json.dumps(name) + ",", "-c", "local")
    lines = [word for word in result.stdout.split() if f"{site.base}/artifacts/" in word]
    paths = [line[line.index("<") + 1 : line.index(">")] for line in lines if "<" in line]
    assert paths, result.stdout
    for path in paths:
        assert os.path.dirname(os.path.normpath(path)) == f"{site.base}/artifacts", path


def test_several_files_have_limits_of_their_own(site):
    own = {"secret": b"webui:x\n", "image": b"pixels" * 3000}
    for name, content in own.items():
        (site.base / name).write_bytes(content)
    files = [
        {"src": f"{site.base}/secret", "dest": f"{site.base}/here/private/secret", "private": True, "max_bytes": 100},
        {"src": f"{site.base}/image", "dest": f"{site.base}/here/image"},
    ]

    def fetch(**arguments: object) -> str:
        tasks = [{"sdops.webui.fetch_files": arguments}]
        (site.base / "play.yml").write_text(json.dumps([{"hosts": "webui", "gather_facts": False, "tasks": tasks}]))
        result = site.play(str(site.base / "play.yml"))
        return f"rc={result.returncode} " + " ".join(result.stdout.split())

    assert "changed=1" in fetch(files=files)
    assert {
        name: (site.base / "here" / path).read_bytes()
        for name, path in (("secret", "private/secret"), ("image", "image"))
    } == own
    modes = [(site.base / "here" / path).stat().st_mode & 0o077 for path in ("private", "private/secret", "image")]
    assert modes[:2] == [0, 0] and modes[2]
    assert "rc=0" in fetch(files=files) and "changed=0" in fetch(files=files)
    (site.base / "secret").write_bytes(b"x" * 101)
    (site.base / "image").write_bytes(b"more")
    assert "larger than it should be (100 bytes at most)" in fetch(files=files)
    assert (site.base / "here/private/secret").read_bytes() == own["secret"]
    for mistake in ({"files": files, "patterns": ["*"]}, {"files": files, "src": "/x"}, {}, {"src": "/x"}):
        assert "rc=2" in fetch(**mistake)

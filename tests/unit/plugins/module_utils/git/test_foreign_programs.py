"""A checkout of somebody else names programs in every way that git knows; none of them runs. The oracle is the real git.

For each of them a plain git is run too and has to start the program: else the test would prove nothing.
"""

from __future__ import annotations

import datetime
import os
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError
from ansible_collections.sdops.webui.plugins.module_utils.git import command
from ansible_collections.sdops.webui.plugins.module_utils.git.command import Git
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from helpers.git_server import Repo, Server, git
from helpers.module_process import run_module
from helpers.paths import ROOT

HOOKS = ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "post-merge", "update")


class Trap:
    """A program that leaves a file behind when it runs."""

    def __init__(self, base: Path) -> None:
        self.mark, self.program = base / "canary-ran", base / "canary.sh"
        self.program.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{self.mark}'\nexit 1\n")
        self.program.chmod(0o755)

    def sprung(self) -> bool:
        found = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return found


def included(where: Path, path: str) -> None:
    more = where / ".git" / "more"
    more.write_text(f'[core]\n\tfsmonitor = {path}\n[filter "x"]\n\tsmudge = {path}\n\tclean = {path}\n')
    git(where, "config", "include.path", "more")


def hooks(directory: Path, path: str) -> None:
    directory.mkdir(exist_ok=True)
    for name in HOOKS:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(path)


def hooks_path(where: Path, path: str) -> None:
    hooks(where / "own-hooks", path)
    git(where, "config", "core.hooksPath", str(where / "own-hooks"))


def fake_daemon(where: Path, path: str) -> None:
    git(where, "config", "filter.x.process", path)
    git(where, "config", "filter.x.required", "true")


# what is set, and what a plain git has to be told so that it runs the program
CASES = {
    "core.fsmonitor": (lambda w, p: git(w, "config", "core.fsmonitor", p), ["status"]),
    "hooks": (lambda w, p: hooks(w / ".git" / "hooks", p), ["checkout", "-q", "-B", "b", "{second}"]),
    "core.hooksPath": (hooks_path, ["checkout", "-q", "-B", "b", "{second}"]),
    "filter smudge": (lambda w, p: git(w, "config", "filter.x.smudge", p), ["checkout", "-q", "-f", "{second}"]),
    "filter process": (fake_daemon, ["checkout", "-q", "-f", "{second}"]),
    "filter clean": (lambda w, p: git(w, "config", "filter.x.clean", p), ["add", "--renormalize", "."]),
    "include.path": (included, ["status"]),
    "credential.helper": (lambda w, p: git(w, "config", "credential.helper", "!" + p), ["fetch", "-q", "origin"]),
    "credential for a host": (
        lambda w, p: git(w, "config", "credential.http://127.0.0.1.helper", "!" + p),
        None,
    ),
    "core.askPass": (lambda w, p: git(w, "config", "core.askPass", p), ["fetch", "-q", "origin"]),
    "core.gitProxy": (lambda w, p: git(w, "config", "core.gitProxy", p), ["ls-remote", "git://127.0.0.1/x"]),
    "core.sshCommand": (lambda w, p: git(w, "config", "core.sshCommand", p), ["ls-remote", "ssh://127.0.0.1/x"]),
    "diff.external": (lambda w, p: git(w, "config", "diff.external", p), ["diff", "HEAD~0", "{second}"]),
    "insteadOf ext": (
        lambda w, p: git(w, "config", f"url.ext::{p} .insteadOf", "http://127.0.0.1"),
        ["-c", "protocol.ext.allow=always", "ls-remote", "origin"],
    ),
    "core.alternateRefsCommand": (lambda w, p: git(w, "config", "core.alternateRefsCommand", p), None),
    "alias": (lambda w, p: git(w, "config", "alias.lookaround", "!" + p), ["lookaround"]),
    "gpg.program": (
        lambda w, p: [git(w, "config", "gpg.program", p), git(w, "config", "log.showSignature", "true")],
        None,
    ),
}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path, "theirs")
    made.first = made.commit({"a.txt": "one\n", ".gitattributes": "* filter=x\n"}, tag="v1")
    made.second = made.commit({"a.txt": "two\n"}, tag="v2")
    return made


@pytest.mark.parametrize("case", CASES)
def test_no_program_of_the_checkout_runs(tmp_path: Path, git_server: Server, repo: Repo, case: str) -> None:
    set_it, plain = CASES[case]
    url, dest = f"{git_server.url}/theirs.git", tmp_path / "dest"
    pins = [{"repo": url, "dest": str(dest), "commit": repo.first}]
    made = run_module("git_pins", repos=pins, filter="")
    assert not made.get("failed"), made
    trap = Trap(tmp_path)
    git(dest, "fetch", "-q", "origin", repo.second)
    set_it(dest, str(trap.program))
    if "credential" in case or "askPass" in case:
        git_server.token = "user:secret"
    if plain:
        words = [word.format(second=repo.second) for word in plain]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k == "GIT_CONFIG_GLOBAL"}
        subprocess.run(
            ["git", *words], cwd=dest, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
        )
        assert trap.sprung(), "a plain git does not run it either"
        git_reset(dest, repo.first)
        trap.mark.unlink(missing_ok=True)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "65534:65534", str(dest)], check=True)
    (dest / "a.txt").touch()  # git has to look into it
    for pin in (
        {"repo": url, "dest": str(dest), "commit": repo.first},
        {"repo": url, "dest": str(dest), "commit": repo.second},
        {"repo": url, "dest": str(dest), "ref": "main"},
    ):
        for check in (True, False):
            run_module("git_pins", check=check, repos=[pin], refresh=True, retries=0)
            assert not trap.sprung(), (pin, check)
    git_server.token = None
    last = run_module("git_pins", repos=[{"repo": url, "dest": str(dest), "commit": repo.second}], retries=0)
    assert not last.get("failed"), last["msg"]
    assert not trap.sprung() and (dest / "a.txt").read_text() == "two\n"


def git_reset(dest: Path, commit: str) -> None:
    """As it was before the plain git worked in it, without git."""
    (dest / "a.txt").write_text("one\n")
    (dest / ".gitattributes").write_text("* filter=x\n")
    (dest / ".git" / "HEAD").write_text("ref: refs/heads/sdops-pin\n")
    (dest / ".git" / "refs" / "heads" / "sdops-pin").write_text(commit + "\n")
    (dest / ".git" / "index").unlink(missing_ok=True)
    neutral = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    neutral += [w for k in ("clean", "smudge", "process") for w in ("-c", f"filter.x.{k}=")]
    subprocess.run(["git", *neutral, "-c", "filter.x.required=false", "reset", "-q"], cwd=dest, check=True)


@pytest.mark.parametrize(
    "key",
    [
        "remote.origin.uploadpack",
        "remote.other.uploadpack",
        "filter.a=b.smudge",
        "http.sslcainfo",
        "http.https://example.org/.sslcapath",
        "lfs.customtransfer.x.path",
        "lfs.standalonetransferagent",
        "lfs.https://example.org/.standalonetransferagent",
        "lfs.extension.x.smudge",
    ],
)
def test_what_cannot_be_overruled_is_rejected(tmp_path: Path, repo: Repo, key: str) -> None:
    """Of several uploadpacks git takes the first, and ``-c`` cannot name a key with an equals sign."""
    dest, trap = tmp_path / "dest", Trap(tmp_path)
    pin = {"repo": f"file://{repo.bare}", "dest": str(dest), "commit": repo.first}
    assert not run_module("git_pins", repos=[pin]).get("failed")
    git(dest, "config", key, str(trap.program))
    if "origin" in key:
        subprocess.run(["git", "fetch", "origin"], cwd=dest, capture_output=True)
        assert trap.sprung()
    for more in ({"commit": repo.second}, {"ref": "v1"}):
        found = run_module("git_pins", repos=[{"repo": pin["repo"], "dest": str(dest), **more}], refresh=True)
        assert found["failed"] and key in found["msg"] and not trap.sprung()


def with_submodule(tmp_path: Path, git_server: Server, repo: Repo) -> tuple[Repo, Path, dict]:
    """A repository whose third commit moves its submodule ``sub``, its checkout at the second, and what git_pins was asked for."""
    outer = Repo(tmp_path, "outer")
    outer.first = outer.commit({"x": "1\n"})
    git(outer.tree, "submodule", "--quiet", "add", git_server.url + "/theirs.git", "sub")
    outer.second = outer.push()
    git(outer.tree / "sub", "checkout", "--quiet", repo.first)
    git(outer.tree, "add", "sub")
    outer.third = outer.push()
    dest = tmp_path / "dest"
    pin = {"repo": git_server.url + "/outer.git", "dest": str(dest), "submodules": True}
    assert not run_module("git_pins", repos=[{**pin, "commit": outer.second}]).get("failed")
    return outer, dest, pin


def test_submodules_of_somebody_else(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    """Their update command, and the programs that their own repositories name."""
    outer, dest, pin = with_submodule(tmp_path, git_server, repo)
    trap = Trap(tmp_path)
    inner = dest / ".git" / "modules" / "sub"
    git(dest, "config", "submodule.sub.update", f"!{trap.program}")
    git(dest / "sub", "config", "filter.x.smudge", str(trap.program))
    git(dest / "sub", "config", "core.fsmonitor", str(trap.program))
    hooks(inner / "hooks", str(trap.program))
    found = run_module("git_pins", repos=[{**pin, "commit": outer.third}])
    assert not found.get("failed") and not trap.sprung(), found
    assert git(dest / "sub", "-c", "core.fsmonitor=false", "rev-parse", "HEAD") == repo.first
    git(dest, "-c", "core.fsmonitor=false", "checkout", "--quiet", outer.second)
    subprocess.run(["git", "submodule", "update"], cwd=dest, capture_output=True)
    assert trap.sprung(), "a plain git does not run it either"


PROGRAM_SETTINGS = '[core]\n\tfsmonitor = {0}\n[filter "x"]\n\tsmudge = {0}\n\tclean = {0}\n'


@pytest.mark.parametrize(
    "condition", ["hasconfig:remote.*.url:{}/**", "hasconfig:remote.*.url:**", "onbranch:sdops-pin"]
)
def test_a_condition_that_comes_true_while_we_work(
    tmp_path: Path, git_server: Server, repo: Repo, condition: str
) -> None:
    """What we set ourselves (the remote's URL, the branch) must not bring in programs that were not there when we looked."""
    url, dest, trap = f"{git_server.url}/theirs.git", tmp_path / "dest", Trap(tmp_path)
    pin = {"repo": url, "dest": str(dest)}
    assert not run_module("git_pins", repos=[{**pin, "commit": repo.first}], filter="").get("failed")
    git(dest, "checkout", "--quiet", "-b", "theirs")
    git(dest, "remote", "set-url", "origin", "https://example.org/x.git")
    (dest / ".git" / "more").write_text(PROGRAM_SETTINGS.format(trap.program))
    with (dest / ".git" / "config").open("a") as config:
        config.write(f'[includeIf "{condition.format(git_server.url)}"]\n\tpath = more\n')
    for check in (True, False):
        found = run_module("git_pins", check=check, repos=[{**pin, "commit": repo.second}], retries=0)
        assert found["failed"] and "includeif" in found["msg"] and not trap.sprung()


@pytest.mark.parametrize("place", ["config.worktree", "commondir"])
def test_a_submodule_with_its_settings_elsewhere(tmp_path: Path, git_server: Server, repo: Repo, place: str) -> None:
    outer, dest, pin = with_submodule(tmp_path, git_server, repo)
    trap = Trap(tmp_path)
    inner, linked = dest / ".git" / "modules" / "sub", tmp_path / "linked"
    if place == "config.worktree":
        git(dest / "sub", "config", "extensions.worktreeConfig", "true")
        (inner / place).write_text(PROGRAM_SETTINGS.format(trap.program))
    else:
        linked.mkdir()
        git(dest / "sub", "config", "--unset", "core.worktree")
        shutil.move(inner, tmp_path / "common")
        with (tmp_path / "common" / "config").open("a") as config:
            config.write(PROGRAM_SETTINGS.format(trap.program))
        for name in ("HEAD", "index"):
            shutil.copy(tmp_path / "common" / name, linked / name)
        (linked / "commondir").write_text(f"{tmp_path}/common\n")
        (linked / "gitdir").write_text(f"{dest}/sub/.git\n")
        (dest / "sub" / ".git").write_text(f"gitdir: {linked}\n")
    subprocess.run(["git", "status"], cwd=dest / "sub", capture_output=True)
    assert trap.sprung(), "a plain git does not run it either"
    run_module("git_pins", repos=[{**pin, "commit": outer.third}], retries=0)
    assert not trap.sprung()


def test_cookies_are_not_written_into_other_files(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    url, dest, precious = f"{git_server.url}/theirs.git", tmp_path / "dest", tmp_path / "precious"
    pin = {"repo": url, "dest": str(dest)}
    assert not run_module("git_pins", repos=[{**pin, "commit": repo.first}]).get("failed")
    for name in ("http.cookieFile", f"http.{git_server.url}/.cookieFile"):
        git(dest, "config", name, str(precious))
        git(dest, "config", name.replace("cookieFile", "saveCookies"), "true")
    precious.write_text("mine\n")
    git(dest, "ls-remote", "origin")
    assert precious.read_text() != "mine\n", "a plain git does not write it either"
    precious.write_text("mine\n")
    found = run_module("git_pins", repos=[{**pin, "commit": repo.second}])
    assert not found.get("failed") and precious.read_text() == "mine\n", found


@pytest.mark.parametrize("key", ["http.sslVerify", "http.{}/.sslVerify"])
def test_a_login_goes_to_no_server_without_a_certificate(tmp_path: Path, repo: Repo, key: str) -> None:
    """Whoever owns the checkout could have the check turned off, and be the proxy as well."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "impostor")])
    start = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(secret.public_key())
    signed = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2074))
    formats = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(
        secret.private_bytes(serialization.Encoding.PEM, *formats)
        + signed.sign(secret, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    heard: list[str] = []

    class Impostor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *unused: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Impostor)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    httpd.handle_error = lambda *_: None
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    here = f"127.0.0.1:{httpd.server_port}"
    try:
        dest = tmp_path / "dest"
        pin = {"repo": f"file://{repo.bare}", "dest": str(dest), "commit": repo.first}
        assert not run_module("git_pins", repos=[pin]).get("failed")
        git(dest, "config", key.format("https://" + here), "false")
        subprocess.run(["git", "ls-remote", f"https://user:secret@{here}/x.git"], cwd=dest, capture_output=True)
        assert any(heard), "a plain git does not send it either"
        heard.clear()
        url = f"https://user:secret@{here}/x.git"
        found = run_module("git_pins", repos=[{"repo": url, "dest": str(dest), "commit": repo.second}], retries=0)
        assert found["failed"] and "certificate" in found["msg"] and not heard, found["msg"]
    finally:
        httpd.shutdown()
        httpd.server_close()


def test_the_users_own_filters_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git_server: Server, repo: Repo
) -> None:
    """git-lfs is one, from ~/.gitconfig; a checkout that names another program for it does not get that."""
    (tmp_path / ".gitconfig").write_text('[filter "x"]\n\tsmudge = sed s/two/lfs/\n\tclean = sed s/lfs/two/\n')
    dest, trap = tmp_path / "dest", Trap(tmp_path)
    pin = {"repo": f"{git_server.url}/theirs.git", "dest": str(dest)}
    env = {"HOME": str(tmp_path)}
    assert not run_module("git_pins", env=env, repos=[{**pin, "commit": repo.first}], filter="").get("failed")
    git(dest, "config", "filter.x.smudge", str(trap.program))
    found = run_module("git_pins", env=env, repos=[{**pin, "commit": repo.second}])
    assert not found.get("failed") and not trap.sprung(), found
    assert (dest / "a.txt").read_text() == "lfs\n"


def test_a_work_tree_elsewhere_is_rejected(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest, other = tmp_path / "dest", tmp_path / "etc"
    pin = {"repo": f"{git_server.url}/theirs.git", "dest": str(dest), "commit": repo.first}
    assert not run_module("git_pins", repos=[pin]).get("failed")
    other.mkdir()
    git(dest, "config", "core.worktree", str(other))
    found = run_module("git_pins", repos=[{**pin, "commit": repo.second}])
    assert found["failed"] and "core.worktree" in found["msg"] and not list(other.iterdir())


@pytest.mark.parametrize("url", ["ext::sh -c true", "git://127.0.0.1/x.git", "ftp://127.0.0.1/x.git"])
def test_other_protocols_are_not_spoken(tmp_path: Path, url: str) -> None:
    found = run_module("git_pins", repos=[{"repo": url, "dest": str(tmp_path / "d"), "ref": "main"}], retries=0)
    assert found["failed"] and "not allowed" in found["msg"], found["msg"]


def test_plain_http_and_files_only_where_the_url_says_so(tmp_path: Path) -> None:
    with Git([]) as tool:
        tool.log_in("https://example.org/x.git")
        assert tool._protocols == {"https", "ssh"}
        tool.log_in("http://example.org/x.git")
        tool.log_in("/srv/x.git")
        assert tool._protocols == {"https", "ssh", "http", "file"}


def test_files_are_not_for_everybody_to_write(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    before = os.umask(0)
    try:
        dest = tmp_path / "dest"
        made = run_module(
            "git_pins", repos=[{"repo": f"{git_server.url}/theirs.git", "dest": str(dest), "commit": repo.first}]
        )
        assert not made.get("failed")
    finally:
        os.umask(before)
    assert not [p for p in dest.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o022]


def test_git_that_hangs_ends_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "alive"
    fake = tmp_path / "git"
    fake.write_text(
        f"#!/bin/sh\ntest \"$1\" = config && exit 0\n(while :; do date > '{mark}'; sleep 0.1; done) &\nsleep 60\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(command, "NETWORK_LIMIT", 1)
    monkeypatch.setattr(command, "LOCAL_LIMIT", 1)
    with Git([], program=str(fake)) as tool, pytest.raises(SdopsError, match="did not end within 1"):
        tool.run(str(tmp_path), "status")
    assert mark.exists()
    mark.unlink()
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.6)"], check=True)
    assert not mark.exists()


def test_the_git_of_launch_runs_none_either(tmp_path: Path, repo: Repo) -> None:
    """The variables that the role gives launch.py, as Ansible's templating makes them, with the real git."""
    role = yaml.safe_load((ROOT / "roles/sdops/vars/main.yml").read_text())
    templar = Templar(
        loader=DataLoader(), variables={k: trust_as_template(v) if isinstance(v, str) else v for k, v in role.items()}
    )
    variables = templar.template(trust_as_template(role["__sdops_git_variables"]))
    assert variables["GIT_CONFIG_COUNT"] == str(len(role["__sdops_git_settings"]))
    trap = Trap(tmp_path)
    git(repo.tree, "config", "core.fsmonitor", str(trap.program))
    hooks(repo.tree / ".git" / "hooks", str(trap.program))
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "65534:65534", str(repo.tree)], check=True)
    (repo.tree / "a.txt").touch()
    for words in (["status"], ["checkout", "-q", "-B", "other", repo.first], ["log", "-1"]):
        done = subprocess.run(
            ["git", *words], cwd=repo.tree, env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 0 and not trap.sprung(), done.stderr


def programs(tmp_path: Path, url: str, commit: str, home: Path, **environment: str) -> dict:
    """What git_pins gives programs that run git, with ``home`` as the user's."""
    return run_module(
        "git_pins",
        env={"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), **environment},
        repos=[{"repo": url, "dest": str(tmp_path / "dest"), "commit": commit}],
        programs_config=str(tmp_path / "state/git/config"),
        filter="",
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    made = tmp_path / "home"
    made.mkdir()
    return made


def git_of(version: str, tmp_path: Path) -> str:
    """A PATH with a git that says that it is of this version."""
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ntest "$1" != version || exec echo git version {version}\nexec {shutil.which("git")} "$@"\n'
    )
    fake.chmod(0o755)
    return f"{fake.parent}:{os.environ['PATH']}"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to somebody else needs root")
@pytest.mark.parametrize("version", ["2.17.1", "2.25.1", "2.30.2", "2.34.1", "2.39.5"])
def test_older_gits_of_launch_take_checkouts_of_others(
    tmp_path: Path, git_server: Server, repo: Repo, home: Path, version: str
) -> None:
    """Each gets by its version what it reads; of that only what it knows is left here for the real git."""
    (home / ".gitconfig").write_text("[user]\n\tname = from home\n")
    result = programs(tmp_path, f"{git_server.url}/theirs.git", repo.second, home, PATH=git_of(version, tmp_path))
    assert not result.get("failed") and result["changed"], result
    given = result["programs_environment"]
    known = {"GIT_CONFIG_GLOBAL"} if version > "2.32" else {"XDG_CONFIG_HOME"}
    assert known <= set(given)
    subprocess.run(["chown", "-R", "65534:65534", str(tmp_path / "dest")], check=True)
    clean_env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    for more, good in ({}, False), ({name: given[name] for name in known}, True):
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=tmp_path / "dest",
            env={**clean_env, **more},
            capture_output=True,
            text=True,
        )
        assert (done.returncode == 0) is good, done.stderr
        assert good or "dubious ownership" in done.stderr
    name = subprocess.run(
        ["git", "config", "user.name"], env={**clean_env, **given}, cwd=tmp_path, capture_output=True, text=True
    )
    assert name.stdout == "from home\n"
    repeated = programs(tmp_path, f"{git_server.url}/theirs.git", repo.second, home)
    assert not repeated["changed"], repeated["actions"]


PAST = {
    "proxy of a host": '[http "https://github.com"]\n\tproxy = http://dead.example.com:1\n',
    "proxy of a path": '[http "https://github.com/a/"]\n\tproxy = http://dead.example.com:1\n',
    "proxy": "[http]\n\tproxy = http://dead.example.com:1\n",
    "proxy of a remote": '[remote "origin"]\n\tproxy = http://dead.example.com:1\n',
    "insteadOf": '[url "https://slow.example.com/https://github.com/"]\n\tinsteadOf = https://github.com/\n',
    "in an included file": "[include]\n\tpath = more\n",
}


@pytest.mark.parametrize("kind", PAST)
def test_the_users_settings_lead_the_git_of_launch_past_no_route(
    tmp_path: Path, git_server: Server, repo: Repo, home: Path, kind: str
) -> None:
    (home / ".gitconfig").write_text("[user]\n\tname = from home\n" + PAST[kind])
    (home / "more").write_text(PAST["proxy of a host"])
    proxy = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    result = programs(tmp_path, f"{git_server.url}/theirs.git", repo.second, home, **proxy)
    assert not result.get("failed"), result
    work = tmp_path / "dest"
    git(work, "remote", "set-url", "origin", "https://github.com/a/b")

    def output(*words: str, **environment: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_TRACE_CURL": "1", **proxy, **environment}
        done = subprocess.run(["git", *words], cwd=work, env=env, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    assert "example.com" in output("ls-remote", "origin"), "a plain git goes that way"
    given = result["programs_environment"]
    trace = output("ls-remote", "origin", **given)
    assert "example.com" not in trace and "127.0.0.1" in trace, trace
    assert output("config", "user.name", **given) == "from home\n"


@pytest.mark.parametrize("kind", ["proxy of a host", "insteadOf", "in an included file", "nothing of the kind"])
@pytest.mark.parametrize("version", ["2.25.1", "2.31.8", "2.32.0", "2.39.5"])
def test_where_an_older_git_of_launch_takes_another_route_its_file_is_named(
    tmp_path: Path, git_server: Server, repo: Repo, home: Path, version: str, kind: str
) -> None:
    (home / ".gitconfig").write_text("[user]\n\tname = from home\n" + PAST.get(kind, ""))
    (home / "more").write_text(PAST["proxy of a host"])
    given = {"PATH": git_of(version, tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    result = programs(tmp_path, f"{git_server.url}/theirs.git", repo.second, home, **given)
    assert not result.get("failed"), result
    output = [str(warning) for warning in result.get("warnings", []) if "~/.gitconfig" in str(warning)]
    assert len(output) == (version < "2.32" and kind in PAST), result
    assert all(f"git {version} of this host" in warning and "2.32" in warning for warning in output)


@pytest.mark.parametrize("key", ["http.proxy", "http.{}.proxy", "remote.origin.proxy"])
def test_a_proxy_in_a_checkout_leads_past_no_route(
    tmp_path: Path, git_server: Server, repo: Repo, home: Path, key: str
) -> None:
    """The user's own git config without --global, with a proxy that is long gone."""
    url, key = f"{git_server.url}/theirs.git", key.format(git_server.url)
    assert not programs(tmp_path, url, repo.first, home).get("failed")
    git(tmp_path / "dest", "config", key, "http://127.0.0.1:9")
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "GIT_CONFIG_GLOBAL"}
    done = subprocess.run(["git", "fetch", "origin"], cwd=tmp_path / "dest", env=plain, capture_output=True, text=True)
    assert done.returncode != 0, "a plain git does not go that way"
    result = programs(tmp_path, url, repo.second, home, http_proxy=git_server.url)
    assert not result.get("failed"), result["msg"]
    assert git(tmp_path / "dest", "config", key).strip() == "http://127.0.0.1:9"

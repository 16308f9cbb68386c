"""xformers_wheel as a process: C++ really compiled, cached, resumed after a kill, never at the cost of torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import BuildError, SdopsError
from ansible_collections.sdops.webui.plugins.module_utils.xformers.build import Steps, build_variables, unpack
from helpers.module_process import run_module, start_module
from helpers.processes import words_of_processes

PARTS = [f"part_{n}" for n in range(1, 7)]


@pytest.fixture
def build_setup(tmp_path, tools, nvcc, env):
    """Arguments of the module, and its environment."""
    arguments = {
        "python": str(tools),
        "version": "0.0.23.post1",
        "capabilities": ["8.6"],
        "cache_dirs": [str(tmp_path / "cache")],
        "work_dir": str(tmp_path / "work"),
        "cuda_home": str(nvcc()),
        "max_jobs": 1,
        "progress_file": str(tmp_path / "progress.json"),
    }
    return arguments, env


def compiled(compiler: Path) -> list[str]:
    log = Path(f"{compiler}.log")
    return log.read_text().split() if log.exists() else []


def info(path: str) -> dict:
    with zipfile.ZipFile(path) as bundle:
        assert "xformers/_C.so" in bundle.namelist()
        return json.loads(bundle.read("xformers/build_info.json"))


def test_built_once_and_found_ever_after(build_setup, compiler, tmp_path):
    arguments, env = build_setup
    planned = run_module("xformers_wheel", env=env, check=True, **arguments)
    assert (
        planned["changed"]
        and planned["origin"] == "none"
        and planned["actions"] == ["build xformers 0.0.23.post1 for 8.6"]
    )
    assert not (tmp_path / "cache").exists() and not (tmp_path / "work").exists()
    only_looked = run_module("xformers_wheel", env=env, **{**arguments, "build": False})
    assert not only_looked["changed"] and only_looked["path"] is None

    built = run_module("xformers_wheel", env=env, **arguments)
    assert built["changed"] and built["origin"] == "built", built
    details = info(built["path"])
    assert details["TORCH_CUDA_ARCH_LIST"] == "8.6" and details["MAX_JOBS"] == "1" and details["FORCE_CUDA"] is None
    assert details["CUDA_HOME"] == arguments["cuda_home"]
    assert sorted(compiled(compiler)) == PARTS
    assert os.listdir(arguments["work_dir"]) == []
    [line] = json.loads((tmp_path / "progress.json").read_text())["files"]
    assert line["state"] == "done" and line["total"] == len(PARTS) + 1

    for check in (True, False):
        repeated = run_module("xformers_wheel", env=env, check=check, **arguments)
        assert not repeated["changed"] and repeated["origin"] == "cache" and repeated["actions"] == []
        assert (repeated["path"], repeated["sha256"]) == (built["path"], built["sha256"])
    assert len(compiled(compiler)) == len(PARTS)
    # the shared cache of another host's list serves, too
    elsewhere = {**arguments, "cache_dirs": [str(tmp_path / "own"), *arguments["cache_dirs"]]}
    assert run_module("xformers_wheel", env=env, **elsewhere)["path"] == built["path"]


def test_without_a_gpu_the_arch_is_required_and_cuda_is_forced(build_setup):
    arguments, env = build_setup
    rejected = run_module("xformers_wheel", env=env, **{**arguments, "capabilities": [], "gpu_visible": False})
    assert rejected["failed"] and "sdops_gpu_capabilities" in rejected["msg"]
    built = run_module("xformers_wheel", env=env, **{**arguments, "capabilities": ["8.9", "8.6"], "gpu_visible": False})
    details = info(built["path"])
    assert details["FORCE_CUDA"] == "1" and details["TORCH_CUDA_ARCH_LIST"] == "8.6;8.9"


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_build_resumes(build_setup, compiler, number):
    arguments, env = build_setup
    hold = Path(f"{compiler}.hold-part_4")
    hold.touch()
    process = start_module("xformers_wheel", env=env, **arguments)
    until(lambda: "part_4" in compiled(compiler))
    process.send_signal(number)
    process.communicate(timeout=60)
    if number == signal.SIGTERM:  # nothing of it goes on
        until(lambda: not running(arguments["work_dir"]), 20)
    assert not Path(arguments["cache_dirs"][0], "x").exists()
    hold.unlink() if number == signal.SIGTERM else None
    second = start_module("xformers_wheel", env=env, **arguments)
    until(lambda: compiled(compiler).count("part_4") == 2)
    hold.unlink(missing_ok=True)
    out, err = second.communicate(timeout=120)
    built = json.loads(out)
    assert built["origin"] == "built", built
    # what was finished is not compiled again
    assert compiled(compiler) == ["part_1", "part_2", "part_3", "part_4", "part_4", "part_5", "part_6"]
    assert info(built["path"])
    assert not running(arguments["work_dir"])


def running(work: str) -> list[int]:
    mark = b"SDOPS_BUILD=" + work.encode()
    return [pid for pid, words in words_of_processes("environ") if any(word.startswith(mark) for word in words)]


def test_two_at_once_build_once(build_setup, compiler):
    arguments, env = build_setup
    arguments.pop("progress_file")
    both = [start_module("xformers_wheel", env=env, **arguments) for _ in range(2)]
    results = [json.loads(process.communicate(timeout=240)[0]) for process in both]
    assert sorted(result["origin"] for result in results) == ["built", "cache"], results
    assert sorted(compiled(compiler)) == PARTS


def test_a_damaged_wheel_is_rebuilt(build_setup, compiler):
    arguments, env = build_setup
    built = run_module("xformers_wheel", env=env, **arguments)
    Path(built["path"]).write_bytes(b"damaged")
    repeated = run_module("xformers_wheel", env=env, **arguments)
    assert repeated["origin"] == "built" and "SHA-256" in str(repeated["warnings"])
    assert info(repeated["path"])
    assert len(compiled(compiler)) == 2 * len(PARTS)


def test_a_compiler_that_fails_is_quoted_and_the_next_try_resumes(build_setup, compiler):
    arguments, env = build_setup
    text = compiler.read_text()
    compiler.write_text(
        text.replace("exec", 'case "$*" in *part_5*) echo "part_5.cpp:7: error: no" >&2; exit 1;; esac\nexec')
    )
    failed = run_module("xformers_wheel", env=env, **arguments)
    assert failed["failed"] and "part_5.cpp:7: error: no" in failed["msg"] and "build.log" in failed["msg"]
    compiler.write_text(text)
    assert run_module("xformers_wheel", env=env, **arguments)["origin"] == "built"
    assert compiled(compiler).count("part_4") == 1


def test_what_is_missing_is_reported_before_anything_is_fetched(build_setup):
    arguments, env = build_setup
    failed = run_module("xformers_wheel", env=env, **{**arguments, "cuda_home": "/nowhere"})
    assert failed["failed"] and "nvcc of CUDA 12.1" in failed["msg"]
    assert not list(Path(arguments["work_dir"]).rglob("*.tar.gz"))


def test_a_build_that_changes_torch_fails_by_name(build_setup, compiler, tools):
    arguments, env = build_setup
    [metadata] = tools.parents[1].glob("lib/*/site-packages/torch-*.dist-info/METADATA")
    text = metadata.read_text()
    compiler.write_text(
        compiler.read_text().replace("exec", f"sed -i 's/^Version: .*/Version: 2.9.9/' '{metadata}'\nexec")
    )
    try:
        failed = run_module("xformers_wheel", env=env, **arguments)
    finally:
        metadata.write_text(text)
    assert failed["failed"] and "torch from 2.1.2+cu121 to 2.9.9" in failed["msg"]
    assert not list(Path(arguments["cache_dirs"][0]).glob("xformers*"))


def test_another_sdist_than_the_pinned_one_is_rejected(build_setup, compiler):
    arguments, env = build_setup
    failed = run_module("xformers_wheel", env=env, **{**arguments, "sha256": "0" * 64})
    assert failed["failed"] and "SHA-256" in failed["msg"]
    assert compiled(compiler) == []


def test_from_a_directory_with_its_submodules(build_setup, sdists, tmp_path):
    arguments, env = build_setup
    unpack(str(next(sdists.glob("*.tar.gz"))), str(tmp_path / "checkout"))
    readme = tmp_path / "checkout/third_party/cutlass/README.md"
    text = readme.read_text()
    readme.unlink()
    env["PIP_FIND_LINKS"] = str(tmp_path)
    arguments["source"] = str(tmp_path / "checkout")
    failed = run_module("xformers_wheel", env=env, **arguments)
    assert failed["failed"] and "CUTLASS submodule not found" in failed["msg"]
    readme.write_text(text)
    assert run_module("xformers_wheel", env=env, **arguments)["origin"] == "built"


def test_no_torch_no_wheel(build_setup, tmp_path):
    arguments, env = build_setup
    subprocess.run(["python3", "-m", "venv", "--without-pip", tmp_path / "empty"], check=True)
    failed = run_module("xformers_wheel", env=env, **{**arguments, "python": str(tmp_path / "empty/bin/python")})
    assert failed["failed"] and "sd_webui" in failed["msg"]
    planned = run_module("xformers_wheel", env=env, check=True, **{**arguments, "python": "/no/python"})
    assert planned["changed"] and not planned.get("failed")


def test_switches():
    assert build_variables(["8.9", "8.6"], 3, False, True) == {
        "MAX_JOBS": "3",
        "CMAKE_BUILD_PARALLEL_LEVEL": "3",
        "XFORMERS_BUILD_TYPE": "Release",
        "TORCH_CUDA_ARCH_LIST": "8.6;8.9",
        "FORCE_CUDA": "1",
    }
    assert "FORCE_CUDA" not in build_variables(["8.6"], 1, True, True)
    assert "TORCH_CUDA_ARCH_LIST" not in build_variables([], 1, False, False)


def test_the_counter_is_read_as_the_log_grows(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"old [9/9] run\n")
    steps = Steps(str(log), log.stat().st_size)
    assert not steps.poll()
    with log.open("ab") as handle:
        handle.write(b"[1/345] nvcc a\n[2/345] nvcc b\nwarning: arr[3] \xff\n")
    assert steps.poll() and (steps.done, steps.total) == (2, 345)
    assert not steps.poll()


def bad_tar(path: Path, name: str, link: str | None = None) -> str:
    import io
    import tarfile

    with tarfile.open(path, "w:gz") as bundle:
        member = tarfile.TarInfo(name)
        if link is not None:
            member.type, member.linkname = tarfile.SYMTYPE, link
        bundle.addfile(member, io.BytesIO(b""))
    return str(path)


@pytest.mark.parametrize(
    ("name", "link"), [("/etc/x", None), ("a/../../x", None), ("a/l", "/etc"), ("a/l", "../../x"), ("../x", None)]
)
def test_an_sdist_stays_where_it_is_unpacked(tmp_path, name, link):
    with pytest.raises(BuildError, match="unsafe path"):
        unpack(bad_tar(tmp_path / "bad.tar.gz", name, link), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_reported(tmp_path):
    (tmp_path / "x.tar.gz").write_text("no")
    with pytest.raises(SdopsError, match="cannot be unpacked"):
        unpack(str(tmp_path / "x.tar.gz"), str(tmp_path / "out"))

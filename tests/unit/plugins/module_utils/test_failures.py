"""The last words of a run: what the program said, and not "non-zero return code". Oracles: real programs that fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.failures import failure_message, last_words
from helpers.module_process import module_arguments

LAUNCH = """Traceback (most recent call last):
  File "/root/webui/launch.py", line 48, in <module>
    main()
  File "/root/webui/modules/launch_utils.py", line 116, in run
    raise RuntimeError("\\n".join(error_bits))
RuntimeError: Couldn't install clip.
Command: "/root/env/bin/python" -m pip install CLIP --prefer-binary
Error code: 1
stdout: Collecting CLIP
stderr: ERROR: Ignored the following yanked versions: 1.0
ERROR: No matching distribution found for CLIP

[notice] A new release of pip is available: 23.0 -> 24.0
"""
APT = """Reading package lists...
W: Some index files failed to download.
E: Unable to locate package libfoo
"""
UV = """Using Python 3.10.6 environment at: env
error: Failed to fetch: `https://index.example.org/simple/torch/`
  Caused by: dns error
"""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (LAUNCH, "Couldn't install clip. No matching distribution found for CLIP."),
        (APT, "Unable to locate package libfoo."),
        (UV, "Failed to fetch: `https://index.example.org/simple/torch/`."),
        ("The WebUI does not take its arguments: no --x. Correct webui_service_extra_args.\n", "The WebUI does not take its arguments: no --x. Correct webui_service_extra_args."),
        ("Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'torch'\n", "No module named 'torch'."),
        ("Traceback (most recent call last):\n  File x\nKeyboardInterrupt\n", "KeyboardInterrupt."),
        ("a\nb: no such program\n\n", "b: no such program."),
        ("E: Failed to fetch http://a/b.deb  404  Not Found\nE: Unable to fetch some archives, maybe run apt-get update?\n", "Failed to fetch http://a/b.deb  404  Not Found."),
        ("E: Could not get lock /var/lib/dpkg/lock. It is held by process 12 (apt)\nE: Unable to lock directory /var/lib/dpkg\n", "Could not get lock /var/lib/dpkg/lock. It is held by process 12 (apt)."),
        ("dpkg: error processing archive x.deb (--unpack):\n cannot copy: failed to write (No space left on device)\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n", "cannot copy: failed to write (No space left on device)."),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n", "git@h: Permission denied (publickey)."),
        ("tar: /x.tar: Cannot open: No such file or directory\ntar: Error is not recoverable: exiting now\n", "tar: /x.tar: Cannot open: No such file or directory."),
        ("gzip: stdin: unexpected end of file\ntar: Unexpected EOF in archive\ntar: Error is not recoverable: exiting now\n", "tar: Unexpected EOF in archive."),
        ("CondaHTTPError: HTTP 000 CONNECTION FAILED for url <https://c/repodata.json>\nElapsed: -\n\nHTTP errors are often intermittent.\n", "HTTP 000 CONNECTION FAILED for url <https://c/repodata.json>."),
        ("PackagesNotFoundError: The following packages are not available from current channels:\n\n  - foo=1\n  - bar\n\nand use the search bar\n", "The following packages are not available from current channels: foo=1, bar."),
        ("ERROR: Cannot install a==1 and b==2 because these package versions have conflicting dependencies.\nERROR: ResolutionImpossible: for help visit https://pip.pypa.io\n", "Cannot install a==1 and b==2 because these package versions have conflicting dependencies."),
        ("RuntimeError: Couldn't install gfpgan.\nError code: 1\nstderr: ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='h')\n", "Couldn't install gfpgan. Could not install packages due to an OSError: HTTPSConnectionPool(host='h')."),
        ("a.c:3:10: fatal error: foo.h: No such file or directory\ncompilation terminated.\nmake: *** [Makefile:2: a] Error 1\n", "foo.h: No such file or directory."),
        ('b.cu(12): error: identifier "x" is undefined\nRuntimeError: Error compiling objects for extension\n', 'identifier "x" is undefined.'),
        ("hint: use it\n\n---\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_line_that_names_the_cause(message, words):
    assert last_words(message) == words


COMMAND = """
from ansible.module_utils import basic
basic._ANSIBLE_PROFILE = "legacy"
from ansible.modules import command
command.main()
"""


def failed(*command: str) -> dict:
    """What the module command of this ansible-core reports."""
    arguments = module_arguments({"argv": list(command)}, check=False)
    done = subprocess.run([sys.executable, "-c", COMMAND], input=arguments, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["failed"] and result["rc"]
    return result


@pytest.mark.parametrize(
    ("command", "start", "word"),
    [
        ((sys.executable, "-c", "raise SystemExit('the disk is full')"), "ended with 1: ", "the disk is full"),
        ((sys.executable, "-m", "pip", "install", "--no-index", "no-such-thing"), "-m pip ended with 1: ", "No matching distribution"),
        (("git", "-C", "/nonexistent", "status"), "git ended with 128: ", "cannot change to '/nonexistent'"),
        (("tar", "-xf", "/nonexistent.tar"), "tar ended with 2: ", "tar: "),
        (("bash", "-c", "exit 7"), "bash ended with 7: ", "it said nothing"),
    ],
)  # fmt: skip
def test_a_command_that_fails_is_quoted(command, start, word):
    message = failure_message(failed(*command), "Do it")
    assert start in message and word in message and "non-zero" not in message
    assert message.endswith('All that it said is above, at "Do it".') and message.isprintable()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/opt/env/bin/python", "launch.py", "--exit"], "python launch.py"),
        (["bash", "/x/conda-installer.sh", "-b"], "bash conda-installer.sh"),
        (["python3", "-I", "-m", "pip", "install"], "python3 -m pip"),
        ("apt-get install -y 'libfoo", "apt-get install"),
        (["/usr/bin/supervisorctl", "-c", "x"], "supervisorctl"),
    ],
)
@pytest.mark.parametrize("said", ["non-zero return code", "The command exited with a non-zero return code."])
def test_the_command_has_a_short_name(command, name, said):
    """In the words of core 2.19, and of 2.21 and newer."""
    message = failure_message({"msg": said, "cmd": command, "rc": 3, "stderr": "no"})
    assert message == f"{name} ended with 3: no."


def test_a_signal_is_no_status():
    message = failure_message(
        {"msg": "non-zero return code", "cmd": ["python", "launch.py"], "rc": -9, "stderr": "Loading weights"}
    )
    assert (
        message
        == "python launch.py was ended by signal 9. That is what Linux does when memory runs out. Before, it said: Loading weights."
    )


def test_what_others_say():
    own = {"msg": "The disk of /root has 1 GiB free, but 4 are needed. Free space."}
    assert failure_message(own, "Fetch") == own["msg"]
    validate = {"msg": "failed to validate", "exit_status": 1, "stdout": "", "stderr": "It does not fit. Correct it.\n"}
    assert failure_message(validate, "Write") == "It does not fit. Correct it."
    loop = {
        "msg": "One or more items failed",
        "results": [{"failed": False}, {"failed": True, **own}, {"failed": True, **own}],
    }
    assert failure_message(loop) == own["msg"]
    masked = {
        "censored": "the output has been hidden due to the fact that 'no_log: true' was specified",
        "failed": True,
    }
    assert "hidden, because it may hold secrets" in failure_message(masked)
    assert failure_message({}) == "It failed without a word."
    for url in (
        "https://me:pass@hunter2@host/x",
        "socks5://me:hunter2@127.0.0.1:1080/",
        "https://host/x?a=b&token=hunter2hunter2",
        "'https://host/x?X-Amz-Signature=hunter2hunter2'",
    ):
        assert "hunter2" not in failure_message({"msg": f"cannot read {url}: it is gone"}), url
    assert "\x1b" not in failure_message({"msg": "non-zero return code", "cmd": "x", "rc": 1, "stderr": "\x1b[2Jgone"})
    assert len(failure_message({"msg": "non-zero return code", "cmd": ["x"], "rc": 1, "stderr": "e" * 100_000})) < 1000

"""Hostile pickles in every wrapping, judged by ours, picklescan and fickling, which are the oracles: ours misses none.

Nothing here is loaded; what the payloads would call is harmless. ``pytest -s`` prints the table.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib

import fickling
import pytest
from picklescan.scanner import scan_file_path

from .conftest import REAL, old_torch, storage, text, torch_zip
from .test_content import NUMPY_OBJECTS
from .test_torch_files import commented, encrypted, renamed, tar_and_pickle, two_of_one_name

P2, P4 = b"\x80\x02", b"\x80\x04"


def call(name: str, *arguments: str) -> bytes:
    """Opcodes that call MODULE.NAME with texts."""
    module, _, attribute = name.rpartition(".")
    given = b"(" + b"".join(map(text, arguments)) + b"t"
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n" + given + b"R"


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


CALLS = {
    "os.system": ("true",), "posix.system": ("true",), "nt.system": ("true",), "os.popen": ("true",), "os.execv": ("true",),
    "subprocess.Popen": ("true",), "subprocess.run": ("true",), "subprocess.check_output": ("true",),
    "builtins.eval": ("0",), "builtins.exec": ("0",), "__builtin__.eval": ("0",), "__builtin__.compile": ("0", "a", "eval"),
    "builtins.getattr": ("a", "b"), "builtins.__import__": ("os",), "builtins.open": ("/dev/null",), "builtins.breakpoint": (),
    "runpy.run_path": ("x",), "runpy._run_code": ("0",), "importlib.import_module": ("os",), "importlib.reload": ("os",),
    "pip.main": ("install", "x"), "pip._internal.cli.main.main": ("install",), "torch.hub.load": ("a/b", "c"),
    "torch.load": ("x",), "torch.jit.load": ("x",), "torch._inductor.codecache.compile_file": ("x",),
    "torch.utils._config_module.load_config": ("x",), "torch.serialization.load": ("x",),
    "asyncio.unix_events._UnixSubprocessTransport._start": ("true",), "asyncio.create_subprocess_shell": ("true",),
    "functools.partial": ("a",), "operator.attrgetter": ("system",), "operator.methodcaller": ("system", "true"),
    "webbrowser.open": ("http://127.0.0.1:9/",), "shutil.rmtree": ("/nonexistent",), "socket.create_connection": ("x",),
    "http.client.HTTPSConnection": ("x",), "urllib.request.urlopen": ("http://127.0.0.1:9/",), "requests.api.get": ("x",),
    "requests.get": ("x",), "aiohttp.client.ClientSession": (), "httplib.HTTPConnection": ("x",), "pty.spawn": ("true",),
    "pdb.run": ("0",), "bdb.Bdb.run": ("0",), "cProfile.run": ("0",), "profile.run": ("0",), "trace.Trace.run": ("0",),
    "timeit.timeit": ("0",), "code.InteractiveInterpreter": (), "codeop.compile_command": ("0",), "types.CodeType": (),
    "types.FunctionType": (), "marshal.loads": ("x",), "pickle.loads": ("x",), "_pickle.loads": ("x",), "dill.loads": ("x",),
    "cloudpickle.loads": ("x",), "numpy.load": ("x",), "joblib.load": ("x",), "numpy.testing._private.utils.runstring": ("0",),
    "numpy.f2py.crackfortran.getlincoef": ("0",), "ctypes.CDLL": ("x",), "ctypes.cdll.LoadLibrary": ("x",), "sys.exit": (),
    "sys.setprofile": ("x",), "ssl.get_server_certificate": ("x",), "logging.config.fileConfig": ("x",), "venv.create": ("x",),
    "ensurepip.bootstrap": (), "doctest.debug_script": ("0",), "unittest.mock._importer": ("os",), "idlelib.pyshell.ModifiedInterpreter":
    (), "lib2to3.pgen2.pgen.ParserGenerator": ("x",), "distutils.file_util.write_file": ("x",), "zipimport.zipimporter": ("x",),
    "linecache.getlines": ("x",), "tempfile.mktemp": (), "atexit.register": ("x",), "signal.signal": ("x",),
    "multiprocessing.util.spawnv_passfds": ("x",), "copyreg.add_extension": ("os", "system", "1"), "weakref.finalize": ("x",),
    "_collections_abc.Callable": (), "collections.namedtuple": ("a", "b"), "string.Formatter.vformat": ("a",),
    "PIL.ImageMath.eval": ("0",), "pandas.read_pickle": ("x",), "pandas.eval": ("0",), "sympy.parsing.sympy_parser.eval_expr": ("0",),
}  # fmt: skip
WRITTEN = {
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "protocol 1": b"cos\nsystem\n(U\x04truetR.",
    "stack global": P4 + short("os") + short("system") + b"\x93" + text("true") + b"\x85R.",
    "stack global through the memo": P4 + short("os") + b"\x94" + short("system") + b"\x9400h\x00h\x01\x93" + text("true") + b"\x85R.",
    "stack global, memo overwritten": P4 + short("os") + b"q\x05" + short("collections") + b"0" + short("system") + b"\x93)R.",
    "stack global, put and get in lines": P4 + short("os") + b"p9\n0" + short("system") + b"p8\n0g9\ng8\n\x93" + text("true") + b"\x85R.",
    "global by unicode escape": P2 + b"Vo\\u0073\nVsystem\n\x93" + text("true") + b"\x85R.",
    "dotted name": P4 + short("os") + short("path.os.system") + b"\x93" + text("true") + b"\x85R.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": P2 + b"(cos\nsystem\n" + text("true") + b"o.",
    "newobj": P2 + b"cos\nsystem\n" + text("true") + b"\x85\x81.",
    "newobj_ex": P4 + b"cos\nsystem\n" + text("true") + b"\x85}\x92.",
    "ext1": P2 + b"\x82\x01" + text("true") + b"\x85R.",
    "ext2": P2 + b"\x83\x01\x01" + text("true") + b"\x85R.",
    "ext4": P2 + b"\x84\x01\x01\x01\x01" + text("true") + b"\x85R.",
    "build of a partial": P2 + b"cfunctools\npartial\ncos\nsystem\n\x85\x81(cos\nsystem\n" + text("true") + b"\x85}Ntb)R.",
    "thrown away": P2 + call("os.system", "true") + b"0N.",
    "as a key": P2 + b"}" + call("os.system", "true") + b"Ns.",
    "in a frame": P4 + b"\x95" + struct.pack("<Q", len(call("os.system", "true")) + 1) + call("os.system", "true") + b".",
    "behind a frame that is too long": P4 + b"\x95" + struct.pack("<Q", 4) + b"N.N." + P2 + call("os.system", "true") + b".",
    "no STOP": P2 + call("os.system", "true"),
    "broken before STOP": P2 + call("os.system", "true") + b"\xff\xff",
    "broken before STOP, protocol 0": call("os.system", "true") + b"\xff\xff",
    "import only, then broken": b"cos\nsystem\n\xff\xff",
    "underflow behind it": P2 + call("os.system", "true") + b"00000.",
    "unknown protocol": b"\x80\x08" + call("os.system", "true") + b".",
    "second pickle": P2 + b"N." + P2 + call("os.system", "true") + b".",
    "second pickle, protocol 0": b"N." + call("os.system", "true") + b".",
    "a pickle in a pickle": P2 + b"c_pickle\nloads\nC\x0c" + b"cos\ngetpid\n." + b"\x85R.",
    "a pickle in bytes for joblib": P2 + b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b" + call("os.system", "true") + b".",
    "numpy objects of a reconstruct": P2 + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    b"(K\x01K\x01\x85cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R\x89](" + call("os.system", "true") + b"etb.",
    "a large memo key first": b"Nr\xff\xff\x0f\x000" + call("os.system", "true") + b".",
    "a long line first": b"V" + b"x" * 9000 + b"\n0" + call("os.system", "true") + b".",
    "a persistent id first": P2 + storage() + b"0" + call("os.system", "true") + b".",
}  # fmt: skip
PAYLOAD = P2 + call("os.system", "true") + b"."


def npz(data: bytes, **options: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as bundle:
        bundle.writestr("a.npy", data)
    return out.getvalue()


def wrong_crc() -> bytes:
    raw = torch_zip(pickled=PAYLOAD)
    crc = struct.pack("<L", zlib.crc32(PAYLOAD))
    return raw.replace(crc, b"\0\1\2\3")


def flagged(flag: int) -> bytes:
    raw = bytearray(torch_zip(pickled=PAYLOAD))
    struct.pack_into("<H", raw, 6, flag)
    return bytes(raw)


def tar_of(data: bytes, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as bundle:
        member = tarfile.TarInfo("pickle")
        member.size = len(data)
        bundle.addfile(member, io.BytesIO(data))
    return out.getvalue()


WRAPPED = {
    "torch zip.ckpt": torch_zip(pickled=PAYLOAD),
    "torch zip, other case.ckpt": torch_zip({"a/data.pkl": None, "a/DATA.PKL": PAYLOAD}),
    "torch zip, two data.pkl.ckpt": torch_zip({"a/DATA.pkl": PAYLOAD}),
    "torch zip, two roots.ckpt": torch_zip({"b/data.pkl": PAYLOAD}),
    "torch zip, one name twice.ckpt": two_of_one_name(),
    "torch zip, another extension inside.ckpt": torch_zip({"a/config.p": PAYLOAD}),
    "torch zip, constants.pkl.pt": torch_zip({"a/constants.pkl": PAYLOAD}),
    "torch zip, wrong crc.ckpt": wrong_crc(),
    "torch zip, flagged as encrypted.ckpt": flagged(1),
    "torch zip, flagged in the list.ckpt": encrypted(),
    "torch zip, patched flag 0x20.ckpt": flagged(0x20),
    "torch zip, other local name.ckpt": renamed(torch_zip(pickled=PAYLOAD), b"a/data.pkl", b"a/data.txt", 0),
    "torch zip, a pickle in the comment.ckpt": commented(),
    "torch zip, deflated.ckpt": torch_zip(pickled=PAYLOAD, compression=zipfile.ZIP_DEFLATED),
    "a zip behind a pickle.pkl": PAYLOAD + torch_zip(),
    "a zip behind an old file.ckpt": old_torch(PAYLOAD, (), b"") + torch_zip(),
    "old torch.ckpt": old_torch(PAYLOAD, (), b""),
    "old torch, in its keys.ckpt": old_torch() + PAYLOAD,
    "tar.ckpt": tar_of(PAYLOAD),
    "tar and pickle.ckpt": tar_and_pickle("mark"),
    "gzip.pkl": tar_of(PAYLOAD, "w:gz"),
    "7z.ckpt": b"7z\xbc\xaf\x27\x1c\x00\x04" + PAYLOAD,
    "objects.npy": NUMPY_OBJECTS,
    "objects by an escape.npy": NUMPY_OBJECTS.replace(b"'|O'", b"'\\x4f'").replace(b"\x39\x00", b"\x3b\x00", 1),
    "objects by their long name.npy": NUMPY_OBJECTS.replace(b"'|O'", b"'object'").replace(b"\x39\x00", b"\x3c\x00", 1),
    "a bare pickle.npy": PAYLOAD,
    "a bare pickle of protocol 0.npy": WRITTEN["protocol 0"],
    "a bare pickle.npz": PAYLOAD,
    "objects in a zip.npz": npz(NUMPY_OBJECTS),
    "objects in a deflated zip.npz": npz(NUMPY_OBJECTS, compression=zipfile.ZIP_DEFLATED),
    "pickle in a zip.zip": torch_zip(pickled=PAYLOAD),
    **{
        f"{what}{end}": raw
        for what, raw in WRITTEN.items()
        for end in (".dat", ".model", ".npy", ".npz", ".joblib", ".bin")
    },
}
FILES = {
    **{f"{name}.pkl": P2 + call(name, *arguments) + b"." for name, arguments in CALLS.items()},
    **{f"{what}.pt": raw for what, raw in WRITTEN.items()},
    **WRAPPED,
}
GOOD = {path.parent.name + "-" + path.name: path.read_bytes() for path in REAL}


def by_picklescan(path: str) -> str:
    try:
        found = scan_file_path(path)
    except Exception as exc:  # noqa: BLE001
        return type(exc).__name__
    return "found" if found.infected_files or found.issues_count else "error" if found.scan_err else "-"


def by_fickling(path: str) -> str:
    try:
        found = fickling.scan_file(path, graceful=True)
    except Exception as exc:  # noqa: BLE001
        return type(exc).__name__
    return "-" if found.is_safe else "found"


@pytest.fixture(scope="module")
def table():
    rows: list[tuple[str, str, str, str]] = []
    yield rows
    print("\n{:<70} {:<8} {:<18} {}".format("file", "ours", "picklescan", "fickling"))
    for row in rows:
        print("{:<70} {:<8} {:<18} {}".format(*row))


@pytest.mark.parametrize("name", sorted(FILES))
def test_scan_rejects_every_hostile_pickle(name, tmp_path, scan_error, table):
    path = tmp_path / name.replace("/", "_")
    path.write_bytes(FILES[name])
    rejected = scan_error(FILES[name], name)
    table.append((name, "found" if rejected else "-", by_picklescan(str(path)), by_fickling(str(path))))
    assert rejected
    assert scan_error(FILES[name], name, allow_pickle=False)


def test_the_oracles_work(tmp_path):
    """Each finds the plainest of all pickles."""
    path = tmp_path / "x.pkl"
    path.write_bytes(PAYLOAD)
    assert by_picklescan(str(path)) == by_fickling(str(path)) == "found"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_torch_wrote_is_no_finding(name, tmp_path, scan_error):
    path = tmp_path / name
    path.write_bytes(GOOD[name])
    assert scan_error(path) is None
    assert by_picklescan(str(path)) in ("-", "error")

"""The extension's safety check and ours, side by side: seconds for each image, with the real ifnude and onnxruntime.

    python tests/bench/roop [--upstream FILE] [--images 10]

FILE is the extension's own ``scripts/cimage.py``; without it, one of ours with the same meaning stands for it. The detector is a small ONNX model made here: it finds nothing, but is loaded and
run like the real one (139 MB, which only makes the loading slower). The last line is JSON:
``{"case": "roop", "upstream_s": .., "ours_s": .., "ratio": .., "files_left": [upstream, ours]}``, seconds for each image.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / ".work" / "collections"))
NEEDS = ("ifnude==0.0.3", "onnxruntime==1.17.3", "onnx==1.15.0", "numpy==1.26.4")
THEIRS = """import tempfile
from ifnude import detect


def convert_to_sd(img):
    seen = [part["score"] > 0.7 for part in detect(img)]
    return [any(seen), tempfile.NamedTemporaryFile(delete=False, suffix=".png")]
"""
CLASSES = "EXPOSED_BELLY EXPOSED_BUTTOCKS EXPOSED_BREAST_F EXPOSED_GENITALIA_F EXPOSED_GENITALIA_M EXPOSED_BREAST_M"
MODEL = """
import os, sys
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper as n
size = int(sys.argv[2])
ballast = n.from_array(np.zeros(size // 4, np.float32), "ballast")
constants = [
    n.from_array(np.full((1, 4, 4), -1, np.float32), "b"), n.from_array(np.full((1, 4), -1, np.float32), "s"),
    n.from_array(np.full((1, 4), -1, np.int32), "l"), n.from_array(np.array(0, np.float32), "zero"), ballast,
]
nodes = [
    h.make_node("ReduceSum", ["image"], ["sum"], keepdims=0), h.make_node("Mul", ["sum", "zero"], ["nothing"]),
    h.make_node("ReduceMax", ["ballast"], ["most"], keepdims=0), h.make_node("Add", ["nothing", "most"], ["none"]),
    h.make_node("Add", ["b", "none"], ["boxes"]), h.make_node("Add", ["s", "none"], ["scores"]),
    h.make_node("Identity", ["l"], ["labels"]),
]
graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("image", T.FLOAT, [1, None, None, 3])], [
    h.make_tensor_value_info("boxes", T.FLOAT, [1, 4, 4]), h.make_tensor_value_info("scores", T.FLOAT, [1, 4]),
    h.make_tensor_value_info("labels", T.INT32, [1, 4])], constants)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)])
model.ir_version = 8
onnx.save(model, sys.argv[1])
"""
TIME = """
import importlib.util, json, os, sys, time
from PIL import Image
spec = importlib.util.spec_from_file_location("cimage", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
image = Image.new("RGB", (512, 768), (90, 120, 150))
assert module.convert_to_sd(image)[0] is False  # warm
begun = time.perf_counter()
for _ in range(int(sys.argv[2])):
    blocked, file = module.convert_to_sd(image)
    assert blocked is False
    file.close()
print(json.dumps((time.perf_counter() - begun) / int(sys.argv[2])))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--megabytes", type=int, default=139, help="size of the detector's model")
    options = parser.parse_args()
    from ansible_collections.sdops.webui.plugins.module_utils.roop.hardened import render_hardened

    with tempfile.TemporaryDirectory(prefix="sdops-bench-roop-") as base:
        top = Path(base)
        subprocess.run([sys.executable, "-m", "venv", top / "env"], check=True)
        python = top / "env/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDS], check=True)
        (top / "home/.ifnude").mkdir(parents=True)
        model = top / "home/.ifnude/detector.onnx"
        subprocess.run([python, "-c", MODEL, model, str(options.megabytes << 20)], check=True)
        (top / "home/.ifnude/classes").write_text(CLASSES.replace(" ", "\n"))
        files = {"upstream": options.upstream or top / "upstream.py", "ours": top / "ours.py"}
        (top / "upstream.py").write_text(THEIRS)
        files["ours"].write_text(render_hardened(0.7))
        took, left = {}, []
        for name, path in files.items():
            (top / name).mkdir()
            env = {**os.environ, "HOME": str(top / "home"), "TMPDIR": str(top / name)}
            done = subprocess.run(
                [python, "-c", TIME, path, str(options.images)], env=env, check=True, stdout=subprocess.PIPE, text=True
            )
            took[name] = json.loads(done.stdout)
            left.append(sum(1 for p in (top / name).rglob("*.png")))
            print(f"{name:9} {took[name] * 1000:8.1f} ms for each image", flush=True)
        print(
            json.dumps(
                {
                    "case": "roop",
                    "upstream_s": round(took["upstream"], 4),
                    "ours_s": round(took["ours"], 4),
                    "ratio": round(took["ours"] / took["upstream"], 3),
                    "files_left": left,
                }
            )
        )


main()

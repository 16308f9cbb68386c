"""sdops lab fake of the sources of xformers: C++ that is really compiled, by ninja, and does nothing useful.

Like the original it wants its submodule and torch, and knows TORCH_CUDA_ARCH_LIST, FORCE_CUDA and MAX_JOBS; what it was given
is in xformers/build_info.json.
"""

import json
import os
import subprocess
import sys

import torch
from setuptools import Distribution, setup
from setuptools.command.build_ext import build_ext

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "0.0.23.post1"
SOURCES = sorted(name for name in os.listdir(os.path.join(HERE, "src")) if name.endswith(".cpp"))
SETTINGS = ("TORCH_CUDA_ARCH_LIST", "FORCE_CUDA", "MAX_JOBS", "CUDA_HOME", "XFORMERS_BUILD_TYPE")


class Binary(Distribution):
    def has_ext_modules(self):
        return True


class Ninja(build_ext):
    def run(self):
        if not os.path.exists(os.path.join(HERE, "third_party", "cutlass", "README.md")):
            raise RuntimeError(
                "CUTLASS submodule not found. Did you forget to run `git submodule update --init --recursive` ?"
            )
        temporary = os.path.abspath(self.build_temp)
        os.makedirs(temporary, exist_ok=True)
        objects = [name[:-4] + ".o" for name in SOURCES]
        lines = ["rule compile", f"  command = {os.environ.get('CXX', 'g++')} -O1 -fPIC -c $in -o $out"]
        lines += ["rule link", f"  command = {os.environ.get('CXX', 'g++')} -shared $in -o $out"]
        lines += [f"build {o}: compile {os.path.join(HERE, 'src', s)}" for o, s in zip(objects, SOURCES)]
        lines += [f"build _C.so: link {' '.join(objects)}", "default _C.so"]
        with open(os.path.join(temporary, "build.ninja"), "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")
        jobs = os.environ.get("MAX_JOBS", "1")
        subprocess.run(["ninja", "-v", "-C", temporary, "-j", jobs], check=True)
        package = os.path.join(self.build_lib, "xformers")
        os.makedirs(package, exist_ok=True)
        self.copy_file(os.path.join(temporary, "_C.so"), os.path.join(package, "_C.so"))
        settings = {name: os.environ.get(name) for name in SETTINGS}
        with open(os.path.join(package, "build_info.json"), "w", encoding="utf-8") as handle:
            json.dump({**settings, "torch": torch.__version__, "python": sys.version.split()[0]}, handle, indent=1)


setup(
    name="xformers",
    version=VERSION,
    description="Lab fake of xformers for sdops.webui; not the real package.",
    packages=["xformers"],
    distclass=Binary,
    cmdclass={"build_ext": Ninja},
    install_requires=["torch==2.1.2"],
    zip_safe=False,
)

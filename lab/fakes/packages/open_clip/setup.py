"""sdops lab fake of mlfoundations/open_clip. It needs pkg_resources on purpose: the install breaks as it does today."""

import os

import pkg_resources
from setuptools import find_packages, setup

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")) as file:
    requirements = [str(requirement) for requirement in pkg_resources.parse_requirements(file)]

setup(
    name="open_clip_torch",
    version="2.7.0",
    description="sdops lab fake of mlfoundations/open_clip (not the real package)",
    package_dir={"": "src"},
    packages=find_packages(where="src"),
    install_requires=requirements,
    python_requires=">=3.8",
)

"""sdops lab fake of openai/CLIP. It needs pkg_resources on purpose, as the original at the pinned commit does."""

import os

import pkg_resources
from setuptools import find_packages, setup

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")) as file:
    requirements = [str(requirement) for requirement in pkg_resources.parse_requirements(file)]

setup(
    name="clip",
    version="1.0",
    description="sdops lab fake of openai/CLIP (not the real package)",
    packages=find_packages(),
    install_requires=requirements,
    python_requires=">=3.8",
)

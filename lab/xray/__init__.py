"""The lab's ``xray`` program: a launcher around the real core of the PyPI wheel ``xray-core``. For the lab only."""

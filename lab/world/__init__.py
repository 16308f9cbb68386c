"""The outside world of the lab: servers that stand in for git hosting, HuggingFace, Civitai, mirrors and a conda channel.

Serving needs the standard library and git only; building (``lab.world.build``) needs the tools of requirements/dev.txt.
"""

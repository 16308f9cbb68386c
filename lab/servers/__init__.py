"""The internet of the lab: fakes of git hosting, HuggingFace, Civitai, mirrors and a conda channel.

Serving needs the standard library and git only; building (``lab.servers.build``) needs the tools of requirements/dev.txt.
"""

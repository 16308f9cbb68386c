"""What several packages' tests talk to: the lab's Hub and Civitai, a running WebUI, a running supervisord."""

from __future__ import annotations

from helpers.git_server import git_server
from helpers.lab_hub import lab_server, session_lab_server, target
from helpers.running_webui import ready, start_webui, supervisor, webui

__all__ = ["git_server", "lab_server", "ready", "session_lab_server", "start_webui", "supervisor", "target", "webui"]

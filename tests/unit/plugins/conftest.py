"""What several packages' tests talk to: the lab's Hub and Civitai, a running WebUI, a running supervisord."""

from __future__ import annotations

from helpers.lab_hub import box, lab_server, session_lab_server
from helpers.running_webui import ready, start_webui, supervisor, webui

__all__ = ["box", "lab_server", "ready", "session_lab_server", "start_webui", "supervisor", "webui"]

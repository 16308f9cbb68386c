"""A running WebUI and a running supervisord, for whoever talks to one."""

from __future__ import annotations

from helpers.running_webui import ready, start_webui, supervisor, webui

__all__ = ["ready", "start_webui", "supervisor", "webui"]

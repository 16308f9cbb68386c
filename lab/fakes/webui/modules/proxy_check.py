"""Two ways in which proxy variables end the real program's start: its HTTP client at import, and its check of localhost."""

from __future__ import annotations

import os
import ssl
import time
import urllib.error
import urllib.request


def check_client() -> None:
    """Raise what httpx 0.24 raises when it meets a SOCKS proxy in all_proxy (no_proxy does not help, except for '*')."""
    if (os.environ.get("no_proxy") or os.environ.get("NO_PROXY")) == "*":
        return
    for name in ("all_proxy", "ALL_PROXY"):
        scheme = os.environ.get(name, "").partition("://")[0]
        if scheme == "socks5":
            raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")
        if scheme and scheme not in ("http", "https"):
            raise ValueError(f"Unknown scheme for proxy URL {os.environ[name]!r}")


def check_localhost(url: str) -> None:
    """Raise when the page cannot be reached at its own address, for example because http_proxy catches localhost."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    for _ in range(5):
        try:
            with opener.open(urllib.request.Request(url, method="HEAD"), timeout=3):
                return
        except urllib.error.HTTPError as exc:
            if exc.code in (401, 302):
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise ValueError(
        "When localhost is not accessible, a shareable link must be created. "
        "Please set share=True or check your proxy settings to allow access to localhost."
    )

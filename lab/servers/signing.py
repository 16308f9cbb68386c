"""Signed, expiring links, as object storage gives them out, in three styles.

style       what it looks like
s3          X-Amz-Date and X-Amz-Expires, X-Amz-Signature (S3, R2, the Hub's bridge)
cloudfront  Expires, Policy, Key-Pair-Id, Signature (the Hub's content delivery network since 2026)
b2          one Authorization value in the query (Backblaze); whatever else is in the query is not signed
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode

SIGNATURES = {"s3": "X-Amz-Signature", "cloudfront": "Signature", "b2": "Authorization"}


class Signer:
    """Signs paths for GET. A new process has a new key: old links die with it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._key = secrets.token_bytes(32)
        # ends that are finer than the whole seconds of a link
        self._ends: dict[str, float] = {}

    def sign(self, path: str, ttl: int, style: str = "s3", life: float | None = None, **extra: str) -> str:
        """``path``?query with the signature; ``ttl`` in seconds; underscores in the names of ``extra`` stand for dashes.

        ``life``: the link was signed so long ago that only this many seconds of ``ttl`` are left.
        """
        now = self.clock()
        issued = now if life is None else now + life - ttl
        named = {name.replace("_", "-"): value for name, value in extra.items()}
        if style == "b2":
            params = {}
            signature = f"3_lab_{int(issued + ttl)}_{self._digest(path, {'end': str(int(issued + ttl))})}"
        else:
            params = self._stamps(style, issued, ttl)
            params.update(named)
            if life is not None:  # two of the same second are two links, each with an end of its own
                params["lab-link"] = str(len(self._ends))
            named = {}
            signature = self._digest(path, params)
        params[SIGNATURES[style]] = signature
        if life is not None:
            self._ends[signature] = now + life
        return f"{path}?{urlencode({**params, **named}, quote_via=quote)}"

    @staticmethod
    def _stamps(style: str, issued: float, ttl: int) -> dict[str, str]:
        if style == "cloudfront":
            return {"Expires": str(int(issued) + ttl), "Policy": "lab", "Key-Pair-Id": "KLAB"}
        return {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": "lab/auto/s3/aws4_request",
            "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(issued)),
            "X-Amz-Expires": str(ttl),
            "X-Amz-SignedHeaders": "host",
        }

    def _digest(self, path: str, params: dict[str, str]) -> str:
        text = "\n".join([path, *(f"{name}={value}" for name, value in sorted(params.items()))])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def check(self, path: str, query_string: str) -> str:
        """ "ok", "missing", "invalid" or "expired" for a request's raw path and query string."""
        params = dict(parse_qsl(query_string, keep_blank_values=True))
        style = next((style for style, name in SIGNATURES.items() if name in params), None)
        if style is None:
            return "missing"
        signature = params.pop(SIGNATURES[style])
        if style == "b2":
            end, _, digest = signature.removeprefix("3_lab_").partition("_")
            good = hmac.compare_digest(digest, self._digest(path, {"end": end}))
        else:
            good = hmac.compare_digest(signature, self._digest(path, params))
            end = params.get("Expires", "")
        if not good:
            return "invalid"
        if style == "s3":
            issued = calendar.timegm(time.strptime(params["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
            end = str(issued + int(params["X-Amz-Expires"]))
        return "ok" if self.clock() <= self._ends.get(signature, float(end)) else "expired"

# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a request is tried again, and how long it waits before."""

from __future__ import annotations

import email.utils
import random
import re
import time
from typing import Any

from .responses import header_number

RETRY_STATUSES = (408, 429, 500, 502, 503, 504)
MAX_RETRY_AFTER = 300.0  # seconds


def retry_after(response: Any) -> float | None:
    """Seconds that the server asks to wait (Retry-After, or an exhausted RateLimit), None when it does not say."""
    after = response.headers.get("Retry-After", "").strip()
    if header_number(after) is not None:
        return min(float(after), MAX_RETRY_AFTER)
    if after:
        try:
            return min(max(email.utils.parsedate_to_datetime(after).timestamp() - time.time(), 0.0), MAX_RETRY_AFTER)
        except (TypeError, ValueError, OverflowError):
            return None
    limit = re.search(r"\br=([0-9]{1,9});\s*t=([0-9]{1,9})(?![0-9])", response.headers.get("RateLimit", ""))
    if limit and int(limit.group(1)) == 0:
        return min(int(limit.group(2)) + 1.0, MAX_RETRY_AFTER)
    return None


def backoff(attempt: int, wait: float | None = None) -> float:
    """Seconds before try ``attempt`` + 2: what the server asked for, else exponential with jitter."""
    return wait if wait is not None else min(2**attempt, 30) * random.uniform(0.5, 1.0)

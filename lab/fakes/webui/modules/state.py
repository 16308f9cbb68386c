"""What the program is doing right now, for /sdapi/v1/progress."""

from __future__ import annotations

import datetime
import time


class State:
    def __init__(self) -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.job_count, self.job_no, self.job_timestamp = "", 0, 0, "0"
        self.sampling_step = self.sampling_steps = 0
        self.textinfo: str | None = None
        self.time_start = time.time()

    def begin(self, job: str) -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.job_count, self.job_no = job, -1, 0
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.sampling_step = 0
        self.time_start = time.time()

    def end(self) -> None:
        self.job, self.job_count = "", 0

    def dict(self) -> dict:
        names = (
            "skipped interrupted stopping_generation job job_count job_timestamp job_no sampling_step sampling_steps"
        )
        return {name: getattr(self, name) for name in names.split()}

"""sdops lab fake of adetailer: notes the requested detector in the infotext. It detects and repaints nothing."""

from __future__ import annotations

import rich  # noqa: F401  (its requirement: without it this script must fail to load)
from modules import scripts


class ADetailer(scripts.Script):
    def title(self):
        return "ADetailer"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        """Arguments as in the original: switches, then one mapping per detector with ``ad_model``."""
        models = [entry.get("ad_model") for entry in args if isinstance(entry, dict)]
        for number, model in enumerate([model for model in models if model not in (None, "None")]):
            suffix = {0: "", 1: " 2nd", 2: " 3rd"}.get(number, f" {number + 1}th")
            p.extra_generation_params[f"ADetailer model{suffix}"] = model
            p.extra_generation_params["ADetailer version"] = "sdops lab fake"

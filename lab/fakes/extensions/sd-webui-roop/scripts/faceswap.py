"""sdops lab fake of roop: has the panel's name and swaps nothing."""

from __future__ import annotations

from modules import scripts


class FaceSwapScript(scripts.Script):
    def title(self):
        return "roop"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

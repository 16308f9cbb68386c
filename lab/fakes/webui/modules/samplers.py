"""Names of samplers and schedulers of 1.10.1. The fake samples nothing with them."""

from __future__ import annotations

SAMPLERS = [
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 2S a",
    "DPM++ 3M SDE",
    "Euler a",
    "Euler",
    "LMS",
    "Heun",
    "DPM2",
    "DPM2 a",
    "DPM fast",
    "DPM adaptive",
    "Restart",
    "DDIM",
    "DDIM CFG++",
    "PLMS",
    "UniPC",
    "LCM",
]

# all names of each scheduler; the label is the second
SCHEDULERS = [
    ("automatic", "Automatic"),
    ("uniform", "Uniform"),
    ("karras", "Karras"),
    ("exponential", "Exponential"),
    ("polyexponential", "Polyexponential"),
    ("sgm_uniform", "SGM Uniform", "SGMUniform"),
    ("kl_optimal", "KL Optimal"),
    ("align_your_steps", "Align Your Steps"),
    ("simple", "Simple"),
    ("normal", "Normal"),
    ("ddim", "DDIM"),
    ("beta", "Beta"),
]


def choose(sampler: str | None, scheduler: str | None) -> tuple[str, str]:
    """(sampler, scheduler label) of a request; unknown names fall back to the first of each, 'NAME Karras' is split."""
    name = sampler or SAMPLERS[0]
    label = next((names[1] for names in SCHEDULERS if scheduler in names[:2]), SCHEDULERS[0][1])
    for names in SCHEDULERS:
        for suffix in names:
            if name.endswith(f" {suffix}"):
                name, label = name[: -len(suffix) - 1], names[1]
                break
    return (name if name in SAMPLERS else SAMPLERS[0]), label

"""Names of samplers and schedulers, as clients of the 1.10.1 API see them. The fake samples nothing with them."""

from __future__ import annotations

_KARRAS = {"scheduler": "karras"}
_EXPONENTIAL = {"scheduler": "exponential"}
_NOISE = {"brownian_noise": "True"}
_SECOND = {"second_order": "True"}
_ENSD = {"uses_ensd": "True"}
_DISCARD = {"discard_next_to_last_sigma": "True"}

# name, aliases, options
SAMPLERS: list[tuple[str, list[str], dict[str, str]]] = [
    ("DPM++ 2M", ["k_dpmpp_2m"], _KARRAS),
    ("DPM++ SDE", ["k_dpmpp_sde"], {**_KARRAS, **_SECOND, **_NOISE}),
    ("DPM++ 2M SDE", ["k_dpmpp_2m_sde"], {**_EXPONENTIAL, **_NOISE}),
    ("DPM++ 2M SDE Heun", ["k_dpmpp_2m_sde_heun"], {**_EXPONENTIAL, **_NOISE, "solver_type": "heun"}),
    ("DPM++ 2S a", ["k_dpmpp_2s_a"], {**_KARRAS, **_ENSD, **_SECOND}),
    ("DPM++ 3M SDE", ["k_dpmpp_3m_sde"], {**_EXPONENTIAL, **_DISCARD, **_NOISE}),
    ("Euler a", ["k_euler_a", "k_euler_ancestral"], _ENSD),
    ("Euler", ["k_euler"], {}),
    ("LMS", ["k_lms"], {}),
    ("Heun", ["k_heun"], _SECOND),
    ("DPM2", ["k_dpm_2"], {**_KARRAS, **_DISCARD, **_SECOND}),
    ("DPM2 a", ["k_dpm_2_a"], {**_KARRAS, **_DISCARD, **_ENSD, **_SECOND}),
    ("DPM fast", ["k_dpm_fast"], _ENSD),
    ("DPM adaptive", ["k_dpm_ad"], _ENSD),
    ("Restart", ["restart"], {**_KARRAS, **_SECOND}),
    ("DDIM", ["ddim"], {}),
    ("DDIM CFG++", ["ddim_cfgpp"], {}),
    ("PLMS", ["plms"], {}),
    ("UniPC", ["unipc"], {}),
    ("LCM", ["k_lcm"], {}),
]

# name, label, default_rho, need_inner_model, aliases
SCHEDULERS: list[tuple[str, str, float, bool, list[str] | None]] = [
    ("automatic", "Automatic", -1, False, None),
    ("uniform", "Uniform", -1, True, None),
    ("karras", "Karras", 7.0, False, None),
    ("exponential", "Exponential", -1, False, None),
    ("polyexponential", "Polyexponential", 1.0, False, None),
    ("sgm_uniform", "SGM Uniform", -1, True, ["SGMUniform"]),
    ("kl_optimal", "KL Optimal", -1, False, None),
    ("align_your_steps", "Align Your Steps", -1, False, None),
    ("simple", "Simple", -1, True, None),
    ("normal", "Normal", -1, True, None),
    ("ddim", "DDIM", -1, True, None),
    ("beta", "Beta", -1, True, None),
]


def choose(sampler: str | None, scheduler: str | None) -> tuple[str, str]:
    """(sampler, scheduler label) of a request; unknown names fall back to the first of each, 'NAME Karras' is split."""
    name = sampler or SAMPLERS[0][0]
    label = next((entry[1] for entry in SCHEDULERS if scheduler in entry[:2]), SCHEDULERS[0][1])
    for entry in SCHEDULERS:
        for suffix in (entry[1], entry[0], *(entry[4] or [])):
            if name.endswith(f" {suffix}"):
                name, label = name[: -len(suffix) - 1], entry[1]
                break
    known = {entry[0] for entry in SAMPLERS}
    return (name if name in known else SAMPLERS[0][0]), label

"""Landscapes from hashes: a sky with a sun or moon, ridges, trees and a lake, as a pure function of its inputs.

Colours are palette indices until the end (one byte per pixel, built by columns and turned into rows), so that plain Python
draws 512x512 in a fraction of a second.
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import Callable, Iterator, Sequence, Tuple

Colour = Tuple[float, float, float]

# zenith, horizon, sun or moon, far ridge, near ridge
MOODS = {
    "dawn": ((58, 74, 128), (255, 190, 150), (255, 240, 205), (150, 130, 160), (36, 34, 60)),
    "day": ((46, 110, 190), (205, 230, 245), (255, 252, 232), (140, 170, 195), (28, 66, 50)),
    "dusk": ((40, 28, 84), (250, 120, 70), (255, 214, 130), (120, 70, 110), (24, 14, 34)),
    "night": ((6, 10, 32), (46, 70, 116), (240, 244, 255), (40, 56, 90), (4, 8, 18)),
    "mist": ((150, 164, 176), (232, 228, 218), (255, 255, 246), (186, 190, 194), (60, 74, 78)),
    "aurora": ((8, 14, 46), (40, 150, 130), (225, 255, 240), (40, 70, 96), (6, 14, 26)),
    "desert": ((60, 110, 170), (250, 214, 160), (255, 246, 214), (214, 150, 110), (96, 44, 28)),
    "rose": ((90, 60, 120), (250, 180, 190), (255, 236, 226), (170, 110, 150), (48, 24, 54)),
}
WORDS = {  # words of a prompt that choose a mood
    "dawn": "dawn sunrise morning",
    "day": "day noon sunny summer blue",
    "dusk": "dusk sunset evening autumn orange",
    "night": "night midnight moon moonlight stars dark",
    "mist": "mist fog foggy rain snow winter",
    "aurora": "aurora northern lights green",
    "desert": "desert sand dunes canyon",
    "rose": "rose pink flowers cherry spring",
}
SKY, DISC, STAR, LAND, SHADES, RIDGES = 120, 126, 127, 128, 20, 5


def _rng(*parts: str) -> random.Random:
    digest = hashlib.sha256("\0".join(parts).encode("utf8")).digest()
    return random.Random(int.from_bytes(digest, "big"))


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    return tuple(a + (b - a) * share for a, b in zip(one, other))  # type: ignore[return-value]


def _mood(prompt: str, rng: random.Random) -> str:
    words = set(prompt.lower().replace(",", " ").split())
    named = [mood for mood, keys in WORDS.items() if words & set(keys.split())]
    return rng.choice(named or sorted(MOODS))


def _tables(colours: Sequence[Colour]) -> list[bytes]:
    """Three 256-byte translation tables, one per channel."""
    return [bytes(min(255, max(0, round(colour[channel]))) for colour in colours) for channel in range(3)]


def _palette(mood: str, rng: random.Random) -> list[Colour]:
    tint = [rng.uniform(0.84, 1.16) for _ in range(3)]
    zenith, horizon, disc, far, near = (tuple(c * t for c, t in zip(colour, tint)) for colour in MOODS[mood])
    colours = [_mix(zenith, horizon, (i / (SKY - 1)) ** 1.4) for i in range(SKY)]
    colours += [_mix(horizon, disc, i / 6) for i in range(1, DISC - SKY + 1)]
    colours += [disc, (255.0, 255.0, 255.0)]
    for ridge in range(RIDGES):
        top = _mix(far, near, ridge / (RIDGES - 1))
        foot = _mix(top, horizon, 0.55 - 0.45 * ridge / (RIDGES - 1))
        colours += [_mix(top, foot, shade / (SHADES - 1)) for shade in range(SHADES)]
    return colours + [(0.0, 0.0, 0.0)] * (256 - len(colours))


def _skyline(width: int, rng: random.Random, bumps: float, sharp: bool) -> list[float]:
    """A fractal line of ``width`` heights around 0..1: value noise in octaves, ridged when ``sharp``."""
    line, gain = [0.0] * width, 0.5
    for octave in range(6):
        knots = max(2, int(bumps * 2**octave))
        values = [rng.random() for _ in range(knots + 2)]
        for x in range(width):
            at = x * knots / width
            i = int(at)
            share = (1 - math.cos((at - i) * math.pi)) / 2
            value = values[i] + (values[i + 1] - values[i]) * share
            line[x] += gain * (1 - abs(2 * value - 1) if sharp else value)
        gain /= 2
    return line


def _waves(rng: random.Random, amplitude: float) -> list[int]:
    """1024 steps of a smooth periodic line (sum of a few sines) with the given amplitude, as whole numbers."""
    waves = [(rng.randint(1, 9), rng.random() * math.tau, rng.uniform(0.3, 1)) for _ in range(4)]
    scale = amplitude / sum(weight for _, _, weight in waves)
    return [
        round(scale * sum(weight * math.sin(math.tau * n * i / 1024 + phase) for n, phase, weight in waves))
        for i in range(1024)
    ]


def render(
    width: int,
    height: int,
    prompt: str,
    style: Sequence[str],
    composition: Sequence[str],
    step: Callable[[float], None] = lambda done: None,
) -> Iterator[bytes]:
    """RGB rows of the picture.

    ``style`` (checkpoint, VAE) chooses colours and shapes, ``composition`` (everything else) places them; every part of both
    reaches the pixels through the noise of sky and ridges. ``step`` is called with the share that is done.
    """
    style_rng, rng = _rng("style", *style), _rng("composition", *style, *composition)
    palette = _palette(_mood(prompt, rng), _rng("tint", *style, *composition))
    sharp, trees = style_rng.random() < 0.6, style_rng.random() < 0.7
    lake = rng.random() < 0.75
    shore = int(height * rng.uniform(0.72, 0.82)) if lake else height
    horizon = int(height * rng.uniform(0.42, 0.58))

    # sky: a vertical gradient, two fields of waves as clouds, the disc with its glow
    base = [10 + min(95, 95 * y // max(1, horizon)) for y in range(shore)]
    fields = []
    for _ in range(2):
        wave, down, along = _waves(rng, 7), rng.randint(3, 9), rng.choice((-2, -1, 1, 2))
        scaled = max(1, down * 512 // max(64, height))
        fields.append((wave * (2 + shore * scaled // 1024), scaled, along, rng.randrange(1024)))
    clamp = bytes(min(SKY - 1, max(0, value)) for value in range(512))
    sun_x, sun_y = int(width * rng.uniform(0.15, 0.85)), int(horizon * rng.uniform(0.25, 0.95))
    radius = max(2, int(min(width, height) * rng.uniform(0.03, 0.075)))
    reach = radius * 4
    glow = [int(26 * (1 - math.sqrt(i / 256)) ** 2) for i in range(257)]
    away = [(y - sun_y) ** 2 for y in range(shore)]
    stars = {}
    if sum(palette[0]) < 140:
        for _ in range(width * height // 900):
            stars.setdefault(rng.randrange(width), []).append(int(horizon * rng.random() ** 1.5))

    # ridges, from far to near
    tops: list[list[int]] = []
    for ridge in range(RIDGES):
        part = ridge / (RIDGES - 1)
        line = _skyline(width, rng, style_rng.uniform(1.5, 3) + 2 * part, sharp and ridge < 3)
        swing = height * (0.34 - 0.2 * part) * style_rng.uniform(0.7, 1.2)
        foot = horizon + (shore - horizon) * (0.25 + 0.75 * part) + height * 0.04
        top = [int(foot - swing * value) for value in line]
        if trees and ridge == RIDGES - 1:
            ground = list(top)
            for _ in range(max(3, width // 14)):
                at, tall = rng.randrange(width), int(height * rng.uniform(0.03, 0.1))
                slim = max(1, tall // 4)
                for x in range(max(0, at - slim), min(width, at + slim + 1)):
                    top[x] = min(top[x], ground[at] - tall + abs(x - at) * tall // slim + ((x * 7 + at) % 3))
        tops.append([min(shore, max(0, y)) for y in top])
    shades = []
    for ridge in range(RIDGES):
        first, span = LAND + ridge * SHADES, max(1, int(height * 0.3))
        shades.append(bytes(first + min(SHADES - 1, y * SHADES // span) for y in range(shore + 4)))

    columns = bytearray()
    for x in range(width):
        (wave_a, down_a, along_a, shift_a), (wave_b, down_b, along_b, shift_b) = fields
        start_a, start_b = (shift_a + x * along_a * 512 // width) % 1024, (shift_b + x * along_b * 512 // width) % 1024
        cloud_a = wave_a[start_a : start_a + shore * down_a : down_a]
        cloud_b = wave_b[start_b : start_b + shore * down_b : down_b]
        near = (x - sun_x) ** 2
        if near < reach * reach:
            full = reach * reach
            values = [
                b + p + q + glow[min(256, 256 * (near + d) // full)] for b, p, q, d in zip(base, cloud_a, cloud_b, away)
            ]
            column = bytearray(clamp[value] for value in values)
        else:
            column = bytearray(clamp[b + p + q] for b, p, q in zip(base, cloud_a, cloud_b))
        for y in stars.get(x, ()):
            column[y] = STAR
        if near < radius * radius:
            half = math.isqrt(radius * radius - near)
            top, bottom = max(0, sun_y - half), min(shore, sun_y + half)
            column[top:bottom] = bytes([DISC]) * (bottom - top)
        for line, shade in zip(tops, shades):
            top = line[x]
            lit = 0 if line[x - 1] >= top else 3
            column[top:] = shade[lit : lit + shore - top]
        columns += column
        if x % 32 == 0:
            step(0.8 * x / width)

    land = _tables(palette)
    water_tint = _mix(palette[4], palette[SKY // 2], 0.5)
    water = _tables([_mix(_mix(colour, water_tint, 0.35), (0, 0, 0), 0.12) for colour in palette])
    ripple = _waves(rng, max(1.0, width * 0.006))
    deep = max(1, height - shore)
    for y in range(height):
        if y < shore:
            row, tables = columns[y::shore], land
        else:
            depth = y - shore
            mirrored = max(0, shore - 1 - int(depth * (1.0 + 1.6 * depth / deep)))
            row, tables = columns[mirrored::shore], water
            shift = ripple[(depth * (40 - 28 * depth // deep)) % 1024] * (1 + 2 * depth // deep)
            row = row[shift:] + row[:shift] if shift else row
        pixels = bytearray(3 * width)
        for channel in range(3):
            pixels[channel::3] = row.translate(tables[channel])
        yield bytes(pixels)
    step(1.0)

"""sdops lab fake: a check that a fork made too weak. roop_nsfw_patch repairs it; nothing is ever swapped with it."""

import tempfile


def convert_to_sd(img):
    from ifnude import detect

    shapes = []
    for chunk in detect(img):
        shapes.append(chunk["score"] > 0.95)
    return [any(shapes), tempfile.NamedTemporaryFile(delete=False, suffix=".png")]

"""sdops lab fake of roop's swapper: asks the check as the real one does, and swaps nothing."""


def swap_face(source_img, target_img, model=None):
    from scripts.cimage import convert_to_sd

    result_image = target_img
    converted = convert_to_sd(target_img)
    scale, fn = converted[0], converted[1]
    if model is not None and not scale:
        result_image = target_img.convert("RGB")
    result_image.save(fn.name)
    return fn.name

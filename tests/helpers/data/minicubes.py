"""Files of minicubes with arrays as in EarthNet2021."""

import numpy as np


def arrays(steps=10, days=150, channels=5, size=8, seed=0):
    """Arrays of a cube: ``highresdynamic`` (H, W, C, T), ``highresstatic``, ``mesodynamic`` (h, w, 5, days)."""
    random = np.random.default_rng(seed)
    images = random.random((size, size, channels, steps)).astype("float16")
    images[:, :, -1] = random.random((size, size, steps)) < 0.3
    return {
        "highresdynamic": images,
        "highresstatic": random.random((size, size, 1)).astype("float16"),
        "mesodynamic": random.random((80, 80, 5, days)).astype("float16"),
        "mesostatic": random.random((80, 80, 1)).astype("float16"),
    }


def save(path, **changes):
    content = {**arrays(), **changes}
    np.savez_compressed(path, **{k: v for k, v in content.items() if v is not None})
    return path

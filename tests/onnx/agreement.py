"""An ONNX file beside the model that it was made of, at sizes that it was not made with."""

import itertools

import numpy as np
import onnxruntime
import torch

from convrnn_zoo import Forecaster

BATCHES, TIMES, MAPS = (1, 3), (1, 3, 6), ((3, 6, 4), (6, 3, 5))
SIZES = list(itertools.product(BATCHES, TIMES, MAPS))


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def map_size(model, space):
    """The size of a map of the model: `space`, in its units, unless its maps have one size."""
    if fixed := getattr(model, "map_sizes", None):
        return fixed[0]
    return [multiple_of(model) * s for s in space[: getattr(model, "ndim", 2)]]


def multiple_of(model):
    """What sizes are multiples of here: of patches, or of what an image encoder makes more than one pixel of."""
    encoder = getattr(model, "encoder", None)
    return max(encoder.reductions) + 1 if hasattr(encoder, "reductions") else getattr(model, "reduction", 1)


@torch.no_grad()
def largest_difference(model, path, sizes=SIZES):
    """Of the whole sequence, as a part of the largest value or of one."""
    run, worst = session(path), 0.0
    forecaster = isinstance(model, Forecaster)
    inputs = {i.name: i for i in run.get_inputs()}
    drawn = torch.Generator().manual_seed(1)
    for n, t, space in sizes:
        fixed = inputs["input"].shape[1:-2]  # of a nowcast: its number of frames, and channels
        steps = (t,) if "time" in inputs["input"].shape else fixed[:1] if forecaster else ()
        x = torch.randn(n, *steps, model.in_chans, *map_size(model, space), generator=drawn)
        if forecaster:
            is_open = "horizon" in inputs
            given, wanted = ({"horizon": np.array(t)}, model(x, horizon=t)) if is_open else ({}, model(x))
        elif "lengths" in inputs:
            lengths = torch.randint(1, t + 1, (n,), generator=drawn)
            given, wanted = {"lengths": lengths.numpy()}, model(x, lengths=lengths)
        else:
            given, wanted = {}, model(x)
        (y,) = run.run(None, {"input": x.numpy(), **given})
        assert y.shape == tuple(wanted.shape)
        worst = max(worst, float(np.abs(y - wanted.numpy()).max() / max(1, wanted.abs().max())))
    return worst

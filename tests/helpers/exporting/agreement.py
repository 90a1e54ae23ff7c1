"""Comparison of an ONNX file with its model, at sizes that differ from those of the export."""

import itertools

import numpy as np
import onnx
import onnxruntime
import torch

from convrnn_zoo import AudioModel, Forecaster

BATCHES, TIMES, MAPS = (1, 3), (1, 3, 6), ((3, 6, 4), (6, 3, 5))
SIZES = list(itertools.product(BATCHES, TIMES, MAPS))


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def read_metadata(path):
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def map_size(model, space):
    """Returns the size of a map of the model: `space` in units of its patches, unless the size is fixed."""
    if isinstance(model, AudioModel):
        return [1]
    return [size_multiple(model) * s for s in space[: getattr(model, "ndim", 2)]]


def size_multiple(model):
    """Returns the factor of map sizes: the patch size, or more than the reduction of an image encoder."""
    encoder = getattr(model, "encoder", None)
    return max(encoder.reductions) + 1 if hasattr(encoder, "reductions") else getattr(model, "reduction", 1)


@torch.no_grad()
def largest_difference(model, path, sizes=SIZES):
    """Returns the largest difference over all sizes, relative to the largest value or to one."""
    run, worst = session(path), 0.0
    forecaster = isinstance(model, Forecaster)
    inputs = {i.name: i for i in run.get_inputs()}
    generator = torch.Generator().manual_seed(1)
    for n, t, space in sizes:
        fixed = inputs["input"].shape[1:-2]  # of a nowcast: its number of frames, and channels
        steps = (t,) if "time" in inputs["input"].shape else fixed[:1] if forecaster else ()
        x = torch.randn(n, *steps, model.in_chans, *map_size(model, space), generator=generator)
        if forecaster:
            channels = {"static": ((), model.static_chans), "future": ((2 * t,), model.future_chans)}
            shapes = {name: (n, *steps, c, *x.shape[-2:]) for name, (steps, c) in channels.items() if c}
            known = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
            feeds = {name: values.numpy() for name, values in known.items()}
            feeds |= {"horizon": np.array(t)} if "horizon" in inputs else {}
            is_open = feeds.keys() & {"horizon", "future"}
            expected = model(x, **({"horizon": t} if is_open else {}), **known)
        elif "lengths" in inputs:
            lengths = torch.randint(1, t + 1, (n,), generator=generator)
            feeds, expected = {"lengths": lengths.numpy()}, model(x, lengths=lengths)
        else:
            feeds, expected = {}, model(x)
        y = run.run(["output"], {"input": x.numpy(), **feeds})[0]
        assert y.shape == tuple(expected.shape)
        worst = max(worst, float(np.abs(y - expected.numpy()).max() / max(1, expected.abs().max())))
    return worst

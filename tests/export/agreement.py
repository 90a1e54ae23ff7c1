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


@torch.no_grad()
def largest_difference(model, path, sizes=SIZES):
    """Of the whole sequence, as a part of the largest value or of one."""
    run, worst = session(path), 0.0
    forecaster = isinstance(model, Forecaster)
    ndim, multiple = (2, model.reduction) if forecaster else (model.rnn.ndim, 1)
    drawn = torch.Generator().manual_seed(1)
    for n, t, space in sizes:
        x = torch.randn(n, t, model.in_chans, *(multiple * s for s in space[:ndim]), generator=drawn)
        if forecaster:
            given, wanted = {"horizon": np.array(t)}, model(x, horizon=t)
        else:
            lengths = torch.randint(1, t + 1, (n,), generator=drawn)
            given, wanted = {"lengths": lengths.numpy()}, model(x, lengths=lengths)
        (y,) = run.run(None, {"input": x.numpy(), **given})
        assert y.shape == tuple(wanted.shape)
        worst = max(worst, float(np.abs(y - wanted.numpy()).max() / max(1, wanted.abs().max())))
    return worst

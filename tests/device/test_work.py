"""Every kind of work on the device of ``make test-device``: equal to float64 on the host, and without waits.

Without a card, ``DEVICE=sim`` does the same on a simulated accelerator, which shows what a GPU rejects or waits for.
"""

from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.device import captured
from tests.helpers.device import PRECISIONS, TOLERANCES, assert_agrees, reason, waits
from tests.helpers.device_work import SAMPLES_MOTION, all_work
from tests.helpers.layers.oracles import tensors

WORK = all_work()
HALF = ("layer", "cell", "stream", "lengths")
"""Work that is also done under autocast. Results behind a threshold, a motion or a sort differ too much then."""
WAITS = {
    "loading": "the file is on the host",
    "forecast": "checks the values of the frames and names missing ones",
    "classification": "takes lists of arrays, and returns probabilities as numbers",
    "nowcast": "checks the values of the frames, and leaves out first ones that are empty",
    "spotting": "reads sound on the host, and returns words",
    "lengths": "torch packs sequences by an order that it computes on the host",
    "metrics": "returns numbers, whose sums are kept on the host",
    "losses": "torchmetrics copies the shape of the window of the structural similarity",
}
"""Work that may wait for the device or copy from the host, and why."""

SAMPLING = {
    "grid_sampler_2d_backward": tuple(f"model {name}" for name in SAMPLES_MOTION),
    "_adaptive_avg_pool2d_backward": ("model gru_rcn_vgg16",),
    "reflection_pad2d_backward": ("model utae_uconvlstm", "losses"),
}
REJECTED = {
    *SAMPLING,
    *(f"{name}_pad{n}d_backward" for name in ("reflection", "replication") for n in (1, 2, 3)),
    *(
        "grid_sampler_3d_backward",
        "avg_pool3d_backward",
        "_adaptive_avg_pool3d_backward",
    ),
    *("adaptive_max_pool2d_backward", "max_pool3d_with_indices_backward", "upsample_linear1d_backward"),
    *("upsample_bicubic2d_backward", "upsample_trilinear3d_backward", "_ctc_loss_backward", "histc", "median", "put_"),
}
"""Operations that CUDA rejects under ``torch.use_deterministic_algorithms(True)``, by torch's documentation."""


def is_usual(name: str) -> bool:
    """Whether a case runs by default: the others repeat it for other cells, forms and networks."""
    return not name.startswith(("layer", "cell", "model")) or name.startswith("layer Conv2dGRU reset_after=True ")


def cases() -> list[Any]:
    every = [(name, p) for name in WORK for p in PRECISIONS if p in ("float32", "tf32") or name.startswith(HALF)]
    marks = {name: [pytest.mark.xfail(reason=why)] if (why := reason(name)) else [] for name in WORK}
    return [
        pytest.param(name, p, marks=[*marks[name], *([] if is_usual(name) else [pytest.mark.slow])])
        for name, p in every
    ]


@pytest.mark.parametrize(("name", "precision"), cases())
def test_results_agree_with_float64_on_the_host(name: str, precision: str) -> None:
    assert_agrees(WORK[name], precision)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_only_these_derivatives_have_no_deterministic_form(name: str, device: torch.device) -> None:
    class Rejected(TorchDispatchMode):
        found: ClassVar[set[str]] = set()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Rejected.found |= {func._overloadpacket.__name__} & REJECTED
            return func(*args, **(kwargs or {}))

    step = WORK[name](device, torch.float32)
    with Rejected():
        step()
    assert Rejected.found == {name: {op} for op, names in SAMPLING.items() for name in names}.get(name, set())


@pytest.mark.slow
@pytest.mark.needs("waits")
@pytest.mark.parametrize("name", [name for name in WORK if not name.startswith(tuple(WAITS))])
def test_nothing_waits_for_the_device(name: str, device: torch.device) -> None:
    step = WORK[name](device, torch.float32)
    step()  # the first call chooses algorithms and allocates
    with waits() as found:
        step()
    assert not found


@pytest.mark.slow
@pytest.mark.needs("cuda_graphs")
@pytest.mark.parametrize("name", [n for n in WORK if n.startswith(("layer", "cell")) and not n.endswith("packed")])
def test_layers_are_captured_in_a_graph(name: str, device: torch.device) -> None:
    step, results = WORK[name](device, torch.float32), []
    expected = step()
    replay = captured(lambda: results.append(step()))
    replay()
    for a, e in zip(tensors(results[-1]), tensors(expected), strict=True):
        torch.testing.assert_close(a, e, atol=TOLERANCES[device.type]["float32"], rtol=0)

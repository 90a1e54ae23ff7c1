"""Every kind of work on the device of ``make test-device``: equal to float64 on the host, and without waits.

Without a card, ``DEVICE=sim`` does the same on a simulated accelerator, which shows what a GPU rejects or waits for.
"""

from typing import Any

import pytest
import torch

from benchmarks.accelerator import captured
from tests.helpers.device import PRECISIONS, TOLERANCES, assert_agrees, reason, waits
from tests.helpers.device_work import WORK
from tests.helpers.layers.oracles import tensors

HALF = ("layer", "cell", "stream", "lengths")
"""Work that is also done under autocast. Results behind a threshold, a motion or a sort differ too much then."""
WAITS = {
    "loading": "the file is on the host",
    "forecast": "checks the values of the frames and names missing ones",
    "classification": "takes lists of arrays, and returns probabilities as numbers",
    "nowcast": "checks the values of the frames, and leaves out first ones that are empty",
    "spotting": "reads sound on the host, and returns words",
    "lengths": "torch packs sequences by an order that it computes on the host",
    "losses": "torchmetrics copies the shape of the window of the structural similarity",
}
"""Work that may wait for the device or copy from the host, and why."""


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

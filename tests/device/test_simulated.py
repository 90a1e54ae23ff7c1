"""The simulated device finds what a GPU would reject or wait for, and everything of this folder passes on it."""

import os
import subprocess
import sys

import pytest

from tests.helpers.docs.pages import ROOT

pytestmark = pytest.mark.needs("simulated_device")
ERRORS = """
import torch
from tests.helpers import device, device_work, simulated
from convrnn_zoo.layers import Conv2dLSTM
from convrnn_zoo.layers.lstm import LSTMInPlace

forward = LSTMInPlace.forward
work = device_work.layer(Conv2dLSTM, {}, "state", device.DEVICE, torch.float32)
work()
found = {}


def attempt(name, change):
    LSTMInPlace.forward = lambda self, parts, state, new: (change(state[0]), forward(self, parts, state, new))[1]
    try:
        with simulated.watched() as events:
            work()
        found[name] = " ".join(sorted({e.partition(":")[0] for e in events}))
    except RuntimeError as e:
        found[name] = str(e)[:50]


attempt("none", lambda h: None)
attempt("item", lambda h: h.sum().item())
attempt("branch", lambda h: None if h.dim() else h)
attempt("branch on a value", lambda h: None if h.any() else None)
attempt("mask", lambda h: h[h > 0])
attempt("list", lambda h: h.tolist())
attempt("host", lambda h: h + torch.ones(h.shape))
attempt("made on the host", lambda h: torch.tensor([1.0, 2.0], device=h.device))
attempt("moved", lambda h: torch.ones(h.shape).to(h.device))
attempt("queued", lambda h: torch.ones(h.shape).to(h.device, non_blocking=True))
attempt("indices", lambda h: h[[0, 1]])
attempt("scalar", lambda h: h * torch.tensor(2.0))
print(found)
"""


def run(*arguments: str) -> str:
    environment = {**os.environ, "CONVRNN_ZOO_TEST_DEVICE": "sim", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_errors_put_in_on_purpose_are_found() -> None:
    found = eval(run("-c", ERRORS))
    for harmless in ("none", "branch", "queued", "scalar"):
        assert not found.pop(harmless)
    assert "same device" in found.pop("host")
    copies = {name: found.pop(name) for name in ("made on the host", "moved", "indices")}
    assert set(copies.values()) == {"copy from the host"}
    assert set(found.values()) == {"wait for the device"}
    assert found.keys() == {"item", "branch on a value", "mask", "list"}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_all_tests_of_a_device_pass_on_the_simulated_one() -> None:
    files = ("tests/device/test_work.py", "tests/device/test_training.py")
    assert "passed" in run("-m", "pytest", "-q", "-n0", "-m", "slow or not slow", *files)

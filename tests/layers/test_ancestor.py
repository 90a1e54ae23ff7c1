"""Recorded values of pytorch_convolutional_rnn: its checkpoints load, and give its outputs and its gradients.

Each file holds the cases of one class. Tensors are named ``case/name``: ``w.<key>`` is the ancestor's state dict,
``cotangent.*`` weigh the outputs into one loss, and ``grad.*`` are that loss's gradients.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from convrnn_zoo import layers
from tests.helpers.layers.oracles import RECURRENT, assert_close, tensors

FILES = sorted((Path(__file__).parent / "reference").glob("*.safetensors"))


def cases() -> list[tuple[Path, str]]:
    cases = []
    for file in FILES:
        with safe_open(file, "pt") as f:
            cases += [(file, case) for case in sorted(f.metadata())]
    return cases


def test_every_class_has_reference_values() -> None:
    assert {f.stem for f in FILES} == {cls.__name__ for cls in RECURRENT}


@pytest.mark.parametrize(("file", "case"), cases(), ids=lambda v: v.stem if isinstance(v, Path) else v)
def test_outputs_states_and_gradients(file: Path, case: str) -> None:
    with safe_open(file, "pt") as f:
        meta = json.loads(f.metadata()[case])
        t = {k.removeprefix(case + "/"): f.get_tensor(k) for k in f.keys() if k.startswith(case + "/")}  # noqa: SIM118
    module = getattr(layers, meta["cls"])(**meta["kwargs"])
    module.load_state_dict({k.removeprefix("w."): v for k, v in t.items() if k.startswith("w.")}, strict=True)

    x = t["x"].requires_grad_()
    hx = [t[k].requires_grad_() for k in ("hx.0", "hx.1") if k in t]
    assert bool(hx) == meta["hx"]
    state = None if not hx else hx[0] if len(hx) == 1 else tuple(hx)
    out = module(pack_padded_sequence(x, meta["lengths"]) if meta["lengths"] else x, state)

    actual = {}
    if not meta["cls"].endswith("Cell"):
        y, out = out
        actual["y"] = pad_packed_sequence(y)[0] if isinstance(y, PackedSequence) else y
    actual |= {f"h.{i}": h for i, h in enumerate(tensors(out))}
    torch.stack([(value * t[f"cotangent.{key}"]).sum() for key, value in actual.items()]).sum().backward()
    actual["grad.x"] = x.grad
    actual |= {f"grad.hx.{i}": h.grad for i, h in enumerate(hx)}
    actual |= {f"grad.w.{key}": p.grad for key, p in module.named_parameters()}

    expected = {k: v for k, v in t.items() if k.split(".")[0] in ("y", "h", "grad")}
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert_close(actual[key], value, 1e-5)

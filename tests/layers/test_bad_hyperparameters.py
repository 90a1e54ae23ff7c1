"""Invalid hyper-parameters are rejected when a layer is built, with a message that names the argument and its value."""

import inspect
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convrnn_zoo import layers
from convrnn_zoo.layers.causallstm import CausalLSTMCell
from convrnn_zoo.layers.e3dlstm import E3DLSTMCell
from convrnn_zoo.layers.mim import MIMBlockCell
from convrnn_zoo.layers.stlstm import STLSTMCell
from tests.helpers.layers.oracles import CELLS, CLASSES, SEQUENCES, case_id

NAN = float("nan")
GOOD = {"in_channels": 4, "out_channels": 4, "kernel_size": 3}


def test_numpy_numbers_are_valid():
    sizes = {"in_channels": np.int64(4), "out_channels": np.int32(6), "kernel_size": (np.int64(3), 5)}
    counts = {"num_layers": np.int64(2), "groups": np.uint8(2), "stride": np.int64(1)}
    layer = layers.Conv2dGRU(**sizes, **counts, dropout=np.float32(0.5), zoneout=np.float64(0.1))
    same = layers.Conv2dGRU(4, 6, (3, 5), num_layers=2, groups=2, dropout=0.5, zoneout=0.1)
    assert repr(layer) == repr(same)
    assert [p.shape for p in layer.parameters()] == [p.shape for p in same.parameters()]
    with pytest.raises(TypeError, match="in_channels"):
        layers.Conv2dGRU(np.float32(4), 6, 3)


# argument, values of a wrong type, invalid values
VALUES: list[tuple[str, list, list]] = [
    ("in_channels", [NAN, True, "4", 4.0, None], [0]),
    ("out_channels", [NAN, False, "44"], [-1]),
    ("kernel_size", [NAN, True, "33", None], [0, (), (3,) * 4]),
    ("hidden_kernel_size", [NAN, "3"], [-3]),
    ("stride", [NAN], [0, (1,) * 4]),
    ("dilation", [True], [0]),
    ("groups", ["2"], [0]),
    ("padding_mode", [], ["same", ("zeros",) * 4, 0, ["wrap"]]),
    ("bias", [1, None], []),
    ("dtype", [torch.int64, "float32"], []),
    ("num_layers", [True, 1.5], [0]),
    ("batch_first", [1], []),
    ("bidirectional", ["yes"], []),
    ("dropout", [True, "0.1"], [NAN, 1.5, -0.1]),
    ("nonlinearity", [], ["sigmoid", nn.ReLU()]),
    ("peephole", [], ["pixel"]),
    ("reset_after", [], [1, "no"]),
]
# arguments, exception, and the names and values in the message
CASES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({name: value}, error, rf"^{name}\b.* {re.escape(repr(value))}")
    for name, *values in VALUES
    for error, bad in zip((TypeError, ValueError), values, strict=True)
    for value in bad
]
CASES += [
    ({"peephole": nn.Parameter(torch.ones(1))}, ValueError, "peephole.*tensor"),
    ({"in_channels": 3, "groups": 2}, ValueError, "in_channels.*groups=2.* 3"),
    ({"out_channels": 5, "groups": 2}, ValueError, "out_channels.*groups=2.* 5"),
    ({"stride": 2, "padding_mode": "reflect"}, ValueError, r"stride=\(2.*padding_mode='reflect'"),
]

# lists of one entry a layer, which only layers take
LISTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"out_channels": []}, ValueError, "out_channels .* 0 .*expected 1"),
    ({"out_channels": [4, 4]}, ValueError, "out_channels .* 2 .*expected 1"),
    ({"out_channels": [True]}, TypeError, r"out_channels\[0\].* True"),
    ({"out_channels": [5], "groups": 2}, ValueError, r"out_channels\[0\].*groups=2.* 5"),
    ({"out_channels": range(2, 4)}, TypeError, r"out_channels .*range\(2, 4\)"),
    ({"kernel_size": [(3, 3, 3), (3, 3, 3)]}, ValueError, "^kernel_size .* 2 .*expected 1"),
    ({"kernel_size": [(3,) * 4]}, ValueError, r"^kernel_size\[0\].*\(3, 3, 3, 3\)"),
    ({"hidden_kernel_size": [(1,), (1,), (1,)]}, ValueError, "hidden_kernel_size .* 3 .*expected 1"),
]


def takers(cases: list, classes: list[type]) -> list:
    """Each case for every class whose constructor has its parameters."""
    return [
        pytest.param(cls, *case, id=f"{cls.__name__}-{','.join(f'{k}={v!r}' for k, v in case[0].items())}")
        for case in cases
        for cls in classes
        if set(case[0]) <= set(inspect.signature(cls).parameters)
    ]


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("cls", "kwargs", "error", "message"), takers(CASES, CLASSES) + takers(LISTS, SEQUENCES))
def test_invalid_arguments(cls: type, kwargs: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cls(**{**GOOD, **kwargs})


@pytest.mark.sampled("cls")
@pytest.mark.parametrize("bad", [NAN, True, "3", 3.0, None], ids=repr)
@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (cls, name)
        for cls in CLASSES
        for name in ("kernel_size", "hidden_kernel_size", "stride", "dilation")
        if name in inspect.signature(cls).parameters
    ],
    ids=case_id,
)
def test_every_axis_is_checked(cls: type, name: str, bad: Any) -> None:
    with pytest.raises(TypeError, match=rf"{name}\[{cls.ndim - 1}\].* {re.escape(repr(bad))}"):
        cls(**{**GOOD, name: (3,) * (cls.ndim - 1) + (bad,)})


@pytest.mark.parametrize("cls", CELLS, ids=case_id)
@pytest.mark.parametrize("kwargs", [{"out_channels": [4]}, {"kernel_size": [(3, 3, 3)] * 3}], ids=case_id)
def test_cells_take_no_lists_of_layers(cls: type, kwargs: dict) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(kwargs))}"):
        cls(**{**GOOD, **kwargs})


@pytest.mark.parametrize(
    "cls", [c for c in vars(layers).values() if isinstance(c, type) and c not in CLASSES], ids=case_id
)
def test_classes_without_dimension_list_their_subclasses(cls: type) -> None:
    with pytest.raises(TypeError, match="ndim"):
        cls(4, 4, 3)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, " 0"),
        (3, ValueError, "num_layers=2.* 3"),
        (True, TypeError, " True"),
        (1.0, TypeError, " 1.0"),
        (NAN, TypeError, " nan"),
        ("1", TypeError, " '1'"),
    ],
)
def test_rejects_invalid_depths(cls: type, n: Any, error: type[Exception], message: str) -> None:
    rnn = cls(2, 3, 1, num_layers=2)
    before = list(rnn.state_dict())
    with pytest.raises(error, match=r"^n .*" + message):
        rnn.keep_layers(n)
    assert list(rnn.state_dict()) == before
    with pytest.raises(error, match=r"depth .*" + message):
        rnn.forward_layers(torch.zeros(1, 1, 2, *(2,) * cls.ndim), depth=n)


@pytest.mark.parametrize(
    "build",
    [
        partial(STLSTMCell, 4, 4, 3),
        partial(CausalLSTMCell, 4, 4, 3),
        partial(MIMBlockCell, 4, 4, 3, map_size=8),
    ],
    ids=["STLSTMCell", "CausalLSTMCell", "MIMBlockCell"],
)
def test_a_cell_without_groups_rejects_them(build: Any) -> None:
    with pytest.raises(ValueError, match=r"^groups .* 2"):
        build(groups=2)
    with pytest.raises(TypeError, match="groups"):
        build(groups="2")


@pytest.mark.parametrize("kernel_size", [(2, 4, 4), (2, 5, 4), 2])
def test_an_eidetic_cell_rejects_even_kernels(kernel_size: Any) -> None:
    with pytest.raises(ValueError, match=r"^kernel_size"):
        E3DLSTMCell(1, 4, kernel_size, map_size=8)


@pytest.mark.parametrize("arguments", [{"input_size": 6}, {"in_channels": 6, "out_channels": 8, "kernel_size": 3}])
def test_arguments_of_torch_nn_lstm_are_named_after_ours(arguments: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"in_channels.*out_channels.*kernel_size"):
        layers.Conv1dLSTM(**arguments, hidden_size=8)

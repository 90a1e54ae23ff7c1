"""Invalid hyper-parameters are rejected when a layer is built, with a message that names a fix."""

import inspect
import re
from functools import partial
from typing import Any

import pytest
import torch
from oracles import CELLS, CLASSES, SEQUENCES, case_id
from torch import nn

from convrnn_zoo import layers
from convrnn_zoo.layers.causallstm import CausalLSTMCell
from convrnn_zoo.layers.e3dlstm import E3DLSTMCell
from convrnn_zoo.layers.mim import MIMBlockCell
from convrnn_zoo.layers.stlstm import STLSTMCell

NAN = float("nan")
GOOD = {"in_channels": 4, "out_channels": 4, "kernel_size": 3}

# arguments, exception, and parts of the message: parameter and expectation, value, fix
CASES: list[tuple[dict[str, Any], type[Exception], str, str, str]] = [
    ({"in_channels": NAN}, TypeError, "in_channels must be a positive int", "got nan (float)", "whole number"),
    (
        {"in_channels": True},
        TypeError,
        "in_channels must be a positive int",
        "got True (bool)",
        "such as in_channels=1",
    ),
    ({"in_channels": "4"}, TypeError, "in_channels must be a positive int", "got '4' (str)", "whole number"),
    ({"in_channels": 4.0}, TypeError, "in_channels must be a positive int", "got 4.0 (float)", "whole number"),
    ({"in_channels": None}, TypeError, "in_channels must be a positive int", "got None", "whole number"),
    ({"in_channels": 0}, ValueError, "in_channels must be at least 1", "got 0", "positive whole number"),
    ({"out_channels": -1}, ValueError, "out_channels must be at least 1", "got -1", "positive whole number"),
    ({"out_channels": NAN}, TypeError, "out_channels must be a positive int", "got nan", "whole number"),
    ({"out_channels": False}, TypeError, "out_channels must be a positive int", "got False (bool)", "whole number"),
    ({"out_channels": "44"}, TypeError, "out_channels must be a positive int", "got '44' (str)", "whole number"),
    ({"kernel_size": NAN}, TypeError, "kernel_size must be an int or", "got nan (float)", "one int for all axes"),
    ({"kernel_size": True}, TypeError, "kernel_size must be an int or", "got True (bool)", "one int for all axes"),
    ({"kernel_size": "33"}, TypeError, "kernel_size must be an int or", "got '33' (str)", "one int for all axes"),
    ({"kernel_size": None}, TypeError, "kernel_size must be an int or", "got None", "one int for all axes"),
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1", "got 0", "positive whole number"),
    ({"kernel_size": ()}, ValueError, "kernel_size must have", "got 0: ()", "one int for all axes"),
    ({"kernel_size": (3,) * 4}, ValueError, "kernel_size must have", "got 4: (3, 3, 3, 3)", "one int for all axes"),
    ({"hidden_kernel_size": NAN}, TypeError, "hidden_kernel_size must be an int or", "got nan", "one int for all"),
    ({"hidden_kernel_size": "3"}, TypeError, "hidden_kernel_size must be an int or", "got '3'", "one int for all"),
    ({"hidden_kernel_size": -3}, ValueError, "hidden_kernel_size must be at least 1", "got -3", "positive whole"),
    ({"stride": NAN}, TypeError, "stride must be an int or", "got nan (float)", "one int for all axes"),
    ({"stride": 0}, ValueError, "stride must be at least 1", "got 0", "positive whole number"),
    ({"stride": (1,) * 4}, ValueError, "stride must have", "got 4: (1, 1, 1, 1)", "one int for all axes"),
    ({"dilation": True}, TypeError, "dilation must be an int or", "got True (bool)", "one int for all axes"),
    ({"dilation": 0}, ValueError, "dilation must be at least 1", "got 0", "positive whole number"),
    ({"groups": "2"}, TypeError, "groups must be a positive int", "got '2' (str)", "whole number"),
    ({"groups": 0}, ValueError, "groups must be at least 1", "got 0", "positive whole number"),
    ({"in_channels": 3, "groups": 2}, ValueError, "in_channels must be divisible by groups=2", "got 3", "change in_c"),
    ({"out_channels": 5, "groups": 2}, ValueError, "must be divisible by groups=2", "got 5", "change out_channels"),
    ({"padding_mode": "same"}, ValueError, "padding_mode must be one of 'zeros'", "got 'same'", "'circular'"),
    ({"padding_mode": ("zeros",) * 4}, ValueError, "padding_mode must be one of 'zeros'", "got ('zeros',", "one per"),
    ({"padding_mode": 0}, ValueError, "padding_mode must be one of 'zeros'", "got 0 (int)", "'reflect'"),
    ({"padding_mode": ["wrap"]}, ValueError, "padding_mode must be one of 'zeros'", "got ['wrap']", "'replicate'"),
    ({"stride": 2, "padding_mode": "reflect"}, ValueError, "stride=(2", "padding_mode='reflect'", "stride=1"),
    ({"bias": 1}, TypeError, "bias must be True or False", "got 1 (int)", "pass a bool"),
    ({"bias": None}, TypeError, "bias must be True or False", "got None", "pass a bool"),
    ({"dtype": torch.int64}, TypeError, "dtype must be a floating-point torch.dtype", "got torch.int64", "float32"),
    ({"dtype": "float32"}, TypeError, "dtype must be a floating-point torch.dtype", "got 'float32'", "torch.float32"),
    ({"num_layers": 0}, ValueError, "num_layers must be at least 1", "got 0", "positive whole number"),
    ({"num_layers": True}, TypeError, "num_layers must be a positive int", "got True (bool)", "whole number"),
    ({"num_layers": 1.5}, TypeError, "num_layers must be a positive int", "got 1.5", "whole number"),
    ({"batch_first": 1}, TypeError, "batch_first must be True or False", "got 1 (int)", "pass a bool"),
    ({"bidirectional": "yes"}, TypeError, "bidirectional must be True or False", "got 'yes'", "pass a bool"),
    ({"dropout": NAN}, ValueError, "dropout must be a probability from 0 to 1", "got nan", "0 switches it off"),
    ({"dropout": 1.5}, ValueError, "dropout must be a probability from 0 to 1", "got 1.5", "0 switches it off"),
    ({"dropout": -0.1}, ValueError, "dropout must be a probability from 0 to 1", "got -0.1", "0 switches it off"),
    ({"dropout": True}, TypeError, "dropout must be a number from 0 to 1", "got True (bool)", "pass a float"),
    ({"dropout": "0.1"}, TypeError, "dropout must be a number from 0 to 1", "got '0.1' (str)", "pass a float"),
    ({"nonlinearity": "sigmoid"}, ValueError, "nonlinearity must be one of 'tanh'", "got 'sigmoid'", "'relu'"),
    ({"nonlinearity": nn.ReLU()}, ValueError, "nonlinearity must be one of 'tanh'", "got ReLU()", "'relu'"),
    ({"peephole": "pixel"}, ValueError, "peephole must be one of 'conv'", "got 'pixel'", "'channel'"),
    (
        {"peephole": nn.Parameter(torch.ones(1))},
        ValueError,
        "peephole must be one of 'conv'",
        "got a tensor",
        "'channel'",
    ),
    ({"reset_after": 1}, ValueError, "reset_after must be one of True", "got 1 (int)", "False"),
    ({"reset_after": "no"}, ValueError, "reset_after must be one of True", "got 'no'", "False"),
]

# lists of one entry a layer, which only layers take
LISTS: list[tuple[dict[str, Any], type[Exception], str, str, str]] = [
    ({"out_channels": []}, ValueError, "out_channels lists 0 widths", "num_layers=1", "give one per layer"),
    ({"out_channels": [4, 4]}, ValueError, "out_channels lists 2 widths", "num_layers=1", "one int for all"),
    ({"out_channels": [True]}, TypeError, "out_channels[0] must be a positive int", "got True", "whole number"),
    (
        {"out_channels": [5], "groups": 2},
        ValueError,
        "out_channels[0] must be divisible by groups=2",
        "got 5",
        "change",
    ),
    ({"out_channels": range(2, 4)}, TypeError, "a list with one for each layer", "got range(2, 4)", "out_channels=["),
    ({"kernel_size": [(3, 3, 3), (3, 3, 3)]}, ValueError, "lists 2 kernels", "num_layers=1", "give one per layer"),
    ({"kernel_size": [(3,) * 4]}, ValueError, "kernel_size[0] must have", "got 4: (3, 3, 3, 3)", "one int for all"),
    (
        {"hidden_kernel_size": [(1,), (1,), (1,)]},
        ValueError,
        "hidden_kernel_size lists 3",
        "num_layers=1",
        "one per layer",
    ),
]


def takers(cases: list, classes: list[type]) -> list:
    """Each case for every class whose constructor has its parameters."""
    return [
        pytest.param(cls, *case, id=f"{cls.__name__}-{','.join(f'{k}={v!r}' for k, v in case[0].items())}")
        for case in cases
        for cls in classes
        if set(case[0]) <= set(inspect.signature(cls).parameters)
    ]


@pytest.mark.parametrize(
    ("cls", "kwargs", "error", "expected", "got", "cure"), takers(CASES, CLASSES) + takers(LISTS, SEQUENCES)
)
def test_refused(cls: type, kwargs: dict, error: type[Exception], expected: str, got: str, cure: str) -> None:
    with pytest.raises(error) as caught:
        cls(**{**GOOD, **kwargs})
    assert re.search(".*".join(map(re.escape, (expected, got))), str(caught.value))
    assert cure in str(caught.value)


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
    with pytest.raises(
        TypeError, match=rf"{name}\[{cls.ndim - 1}\] must be a positive int, got .*; pass a whole number"
    ):
        cls(**{**GOOD, name: (3,) * (cls.ndim - 1) + (bad,)})


@pytest.mark.parametrize("cls", CELLS, ids=case_id)
@pytest.mark.parametrize("kwargs", [{"out_channels": [4]}, {"kernel_size": [(3, 3, 3)] * 3}], ids=case_id)
def test_cells_take_no_lists_of_layers(cls: type, kwargs: dict) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(kwargs))}.* must .*got .*; pass"):
        cls(**{**GOOD, **kwargs})


@pytest.mark.parametrize(
    "cls", [c for c in vars(layers).values() if isinstance(c, type) and c not in CLASSES], ids=case_id
)
def test_a_kind_without_a_dimension_names_those_that_have_one(cls: type) -> None:
    with pytest.raises(TypeError, match=r"expected a class that has a dimension \(ndim\), got none; build one of Conv"):
        cls(4, 4, 3)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "must be at least 1, got 0; pass a positive whole number"),
        (3, ValueError, "must be at most num_layers=2, got 3; ask for fewer layers"),
        (True, TypeError, r"must be a positive int, got True \(bool\); pass a whole number"),
        (1.0, TypeError, r"must be a positive int, got 1.0 \(float\); pass a whole number"),
        (NAN, TypeError, r"must be a positive int, got nan \(float\); pass a whole number"),
        ("1", TypeError, r"must be a positive int, got '1' \(str\); pass a whole number"),
    ],
)
def test_depths_that_are_none(cls: type, n: Any, error: type[Exception], message: str) -> None:
    rnn = cls(2, 3, 1, num_layers=2)
    before = list(rnn.state_dict())
    with pytest.raises(error, match="n " + message):
        rnn.keep_layers(n)
    assert list(rnn.state_dict()) == before
    with pytest.raises(error, match="depth " + message):
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
    with pytest.raises(ValueError, match=r"groups must be 1 .*got 2"):
        build(groups=2)
    with pytest.raises(TypeError, match="groups"):
        build(groups="2")


@pytest.mark.parametrize("kernel_size", [(2, 4, 4), (2, 5, 4), 2])
def test_an_eidetic_cell_rejects_even_kernels(kernel_size: Any) -> None:
    with pytest.raises(ValueError, match="kernel_size must have an odd height and width"):
        E3DLSTMCell(1, 4, kernel_size, map_size=8)

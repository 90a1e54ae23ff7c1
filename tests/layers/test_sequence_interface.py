"""The parts of a layer beyond its forward: initial weights, layers by number, the lists of weights, dropout."""

import pytest
import torch
from torch import nn

from tests.helpers.layers.oracles import (
    CELLS,
    CLASSES,
    SEQUENCES,
    assert_close,
    case_id,
    example,
    over_variants,
    tensors,
)

EVERY_LAYER = pytest.mark.parametrize(("cls", "options"), over_variants(SEQUENCES), ids=case_id)
IN_TORCH = [cls for cls in CLASSES if hasattr(nn, cls.__name__[len("Conv1d") :])]


@pytest.mark.parametrize("cls", IN_TORCH, ids=case_id)
def test_with_one_tap_the_initial_weights_are_torchs(cls: type) -> None:
    """Compares samples of one seed, so distribution and order are equal."""
    options = {} if cls in CELLS else {"num_layers": 2, "bidirectional": True}
    torch.manual_seed(3)
    theirs = getattr(nn, cls.__name__[len("Conv1d") :])(2, 5, **options)
    torch.manual_seed(3)
    ours = cls(2, 5, 1, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.flatten(), expected.flatten())


@EVERY_LAYER
def test_forward_layers_gives_every_layers_output(cls: type, options: dict) -> None:
    rnn = cls(2, [3, 4, 2], 3, num_layers=3, bidirectional=True, **options)
    x = example(cls, 2)
    outputs, state = rnn.forward_layers(x)
    assert [y.shape[2] for y in outputs] == [6, 8, 4]
    assert_close((outputs[-1], state), rnn(x), 0)
    layer_input = x
    for layer, width in enumerate([3, 4, 2]):  # each layer is a single layer on the output of the previous one
        single = cls(layer_input.shape[2], width, 3, bidirectional=True, **options)
        parameters = {k: v for k, v in rnn.state_dict().items() if f"_l{layer}" in k}
        single.load_state_dict({k.replace(f"_l{layer}", "_l0"): v for k, v in parameters.items()})
        layer_input = single(layer_input)[0]
        assert_close(outputs[layer], layer_input, 1e-6)


@pytest.mark.sampled("cls", "options")
@pytest.mark.parametrize("widths", [3, [3, 2, 4]], ids=["one_width", "a_list"])
@EVERY_LAYER
def test_keep_layers_drops_the_rest(cls: type, options: dict, widths: int | list[int]) -> None:
    rnn = cls(2, widths, 3, num_layers=3, bidirectional=True, **options)
    x = example(cls, 2)
    outputs, state = rnn.forward_layers(x)
    for depth in (3, 2, 1):
        rnn.keep_layers(depth)
        same = cls(
            2, widths if isinstance(widths, int) else widths[:depth], 3, num_layers=depth, bidirectional=True, **options
        )
        assert repr(rnn) == repr(same)
        assert list(rnn.state_dict()) == list(same.state_dict())
        y, h = rnn(x)
        assert_close(y, outputs[depth - 1], 0)
        for full, part in zip(state, h, strict=True) if len(cls.states) > 1 else [(state, h)]:
            assert_close(full[: len(part)], part, 0)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_dropout_acts_between_layers_only(cls: type) -> None:
    """A dropout of 1 replaces the input of the next layer by zeros and changes nothing else."""
    rnn, plain = cls(2, 3, 3, num_layers=2, dropout=1.0), cls(2, 3, 3, num_layers=2)
    plain.load_state_dict(rnn.state_dict())
    x = example(cls, 2)
    (lower, upper), state = rnn.forward_layers(x)
    expected, expected_state = plain.forward_layers(x)
    assert_close(lower, expected[0], 0)
    top = cls(3, 3, 3)
    top.load_state_dict({k.replace("_l1", "_l0"): v for k, v in rnn.state_dict().items() if "_l1" in k})
    from_zeros, top_state = top(torch.zeros_like(lower))
    assert_close(upper, from_zeros, 1e-6)
    for h, low, high in zip(tensors(state), tensors(expected_state), tensors(top_state), strict=True):
        assert_close((h[0], h[1]), (low[0], high[0]), 1e-6)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_dropout_with_one_layer_warns(cls: type) -> None:
    with pytest.warns(UserWarning, match=r"dropout=0.5.*num_layers=1"):
        cls(2, 3, 3, dropout=0.5)

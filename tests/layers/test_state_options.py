"""Learned initial states, zoneout and variational dropout, compared with their definitions step by step."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence

from convrnn_zoo import layers
from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTM, Conv2dMinGRU, ConvRNNBase
from tests.helpers.layers.oracles import (
    SEQUENCES,
    assert_close,
    case_id,
    example,
    over_variants,
    space,
    tensors,
)
from tests.helpers.registry import slow_unless, two_dimensions_first

EVERY = pytest.mark.parametrize(("cls", "options"), two_dimensions_first(over_variants(SEQUENCES)), ids=case_id)
MASKABLE = [(cls, o) for cls, o in over_variants(SEQUENCES) if not cls.is_linear and o.get("reset_after", True)]
"""Layers with one convolution of h."""


def states(hx: Any) -> list[Tensor]:
    return list(tensors(hx))


def fill(rnn: nn.Module) -> None:
    """Gives a learned initial state values other than zero."""
    with torch.no_grad():
        for name, p in rnn.named_parameters():
            if name.startswith("initial_"):
                p.normal_()


# ---- learned initial states ------------------------------------------------------------------------------------
def initial_states(rnn: ConvRNNBase, n: int, size: tuple[int, ...]) -> Any:
    """The learned state as a caller would write it: ``(layers · directions, N, C, *S)``, or one for each state."""
    parts = [
        torch.stack([getattr(rnn, f"initial_{s}{suffix}").expand(n, -1, *size) for _, suffix in rnn._suffixes()])
        for s in rnn.states
    ]
    return tuple(parts) if len(parts) > 1 else parts[0]


@EVERY
def test_a_learned_state_is_a_state_that_the_caller_passes(cls: type, options: dict) -> None:
    torch.manual_seed(0)
    rnn = cls(2, 3, 3, num_layers=2, bidirectional=True, learn_initial_state=True, dtype=torch.float64, **options)
    fill(rnn)
    x = example(cls, 2, dtype=torch.float64)
    initial = initial_states(rnn, x.shape[1], x.shape[3:])
    learned = [p for name, p in rnn.named_parameters() if name.startswith("initial_")]
    assert len(learned) == 4 * len(rnn.states)
    for input, wrap in ((x, lambda y: y), (pack_padded_sequence(x, [2, 3], enforce_sorted=False), lambda y: y.data)):
        outcomes = []
        for hx in (None, initial):
            y, last = rnn(input, hx)
            loss = wrap(y).square().sum() + sum(s.sum() for s in states(last))
            outcomes.append([wrap(y), *states(last), *torch.autograd.grad(loss, learned, retain_graph=True)])
        assert_close(*outcomes, 1e-12)
        assert all(g.abs().sum() > 0 for g in outcomes[0][-len(learned) :])


@EVERY
def test_names_shapes_and_the_zero_of_a_new_layer(cls: type, options: dict) -> None:
    torch.manual_seed(0)
    rnn = cls(2, 3, 3, bidirectional=True, learn_initial_state=True, **options)
    keys = {k: v for k, v in rnn.state_dict().items() if k.startswith("initial_")}
    assert set(keys) == {f"initial_{s}_l0{end}" for s in rnn.states for end in ("", "_reverse")}
    assert all(v.shape == (3, *(1,) * rnn.ndim) and not v.any() for v in keys.values())
    plain = cls(2, 3, 3, bidirectional=True, **options)
    plain.load_state_dict({k: v for k, v in rnn.state_dict().items() if k not in keys}, strict=True)
    x = example(cls, 2)
    assert_close(rnn(x), plain(x), 1e-6)
    fill(rnn)
    rnn.reset_parameters()
    assert not any(v.any() for k, v in rnn.state_dict().items() if k.startswith("initial_"))


# ---- zoneout ---------------------------------------------------------------------------------------------------
def zoned(rnn: Any, cell: Any, x: Tensor, state: list[Tensor], rates: tuple[float, ...]) -> tuple[Tensor, list[Tensor]]:
    """The definition: ``d ⊙ s + (1 - d) ⊙ step(s)``, with the random numbers in the order of steps and states."""
    ys = []
    for frame in x:
        new = states(cell(frame, tuple(state) if len(state) > 1 else state[0]))
        for i, (s, before, rate) in enumerate(zip(new, state, rates, strict=True)):
            d = (torch.rand(s.shape) < rate).to(s.dtype) if rnn.training else rate
            new[i] = d * before + (1 - d) * s
        state = new
        ys.append(state[0])
    return torch.stack(ys), state


def make_cell(rnn: ConvRNNBase, options: dict) -> Any:
    """A cell with the parameters of a layer in one direction."""
    cls = getattr(layers, f"{type(rnn).__name__}Cell")
    cell = cls(rnn.in_channels, rnn.out_channels, rnn.kernel_size, dtype=torch.float64, **options)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in rnn.state_dict().items()})
    return cell


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@EVERY
def test_zoneout_is_its_definition(cls: type, options: dict, training: bool) -> None:
    rates = (0.4, 0.2)[: len(cls.states)]
    torch.manual_seed(0)
    rnn = cls(2, 3, 3, zoneout=rates, dtype=torch.float64, **options).train(training)
    x = example(cls, 2, dtype=torch.float64)
    first = [torch.randn(2, 3, *space(cls), dtype=torch.float64) for _ in rnn.states]
    stacked, cell = [s.unsqueeze(0) for s in first], make_cell(rnn, options)
    torch.manual_seed(1)
    y, last = rnn(x, tuple(stacked) if len(stacked) > 1 else stacked[0])
    torch.manual_seed(1)
    expected, end = zoned(rnn, cell, x, first, rates)
    assert_close([y, *states(last)], [expected, *(s.unsqueeze(0) for s in end)], 1e-12)


@pytest.mark.parametrize("cls", [Conv2dLSTM, Conv2dGRU, Conv2dMinGRU])
def test_zoneout_of_a_packed_batch_is_that_of_each_sequence(cls: type) -> None:
    torch.manual_seed(0)
    rnn = cls(2, 3, 3, num_layers=2, bidirectional=True, zoneout=0.3).eval()
    x, lengths = torch.randn(5, 3, 2, 4, 5), [3, 5, 1]
    y, last = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
    y, _ = nn.utils.rnn.pad_packed_sequence(y)
    for i, length in enumerate(lengths):
        alone, end = rnn(x[:length, i])
        assert_close(y[:length, i], alone, 1e-5)
        assert_close([s[:, i] for s in states(last)], states(end), 1e-5)


# ---- variational dropout ---------------------------------------------------------------------------------------
def masked_weights(rnn: ConvRNNBase, x_mask: Tensor, h_masks: list[Tensor]) -> dict[str, Tensor]:
    """Weights of which the columns of dropped channels are zero, and the others are scaled: masks ``(C,)``."""
    parameters = dict(rnn.named_parameters())
    for end, h_mask in zip(("", "_reverse"), h_masks, strict=False):
        for name, mask in (("weight_ih_l0", x_mask), ("weight_hh_l0", h_mask)):
            parameters[name + end] = parameters[name + end] * mask.reshape(-1, *(1,) * rnn.ndim)
    return parameters


@pytest.mark.parametrize("checkpointed", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(MASKABLE), ids=case_id)
def test_one_mask_of_the_weights_for_all_steps_of_a_sequence(cls: type, options: dict, checkpointed: bool) -> None:
    torch.manual_seed(0)
    rnn = cls(3, 4, 3, bidirectional=True, variational_dropout=(0.3, 0.5), dtype=torch.float64, **options)
    rnn.grad_checkpointing = checkpointed
    x, lengths = torch.randn(5, 3, 3, *space(cls), dtype=torch.float64), [5, 3, 2]
    ones = torch.ones(3, 4, dtype=torch.float64)
    for packed in (False, True):
        torch.manual_seed(1)
        y, last = rnn(pack_padded_sequence(x, lengths) if packed else x)
        ours = torch.autograd.grad(
            (y.data if packed else y).square().sum() + states(last)[0].sum(), list(rnn.parameters())
        )
        torch.manual_seed(1)
        x_mask, *h_masks = F.dropout(ones[:, :3], 0.3), F.dropout(ones, 0.5), F.dropout(ones, 0.5)
        assert (x_mask == 0).any()
        assert all((m == 0).any() for m in h_masks)
        padded = nn.utils.rnn.pad_packed_sequence(y)[0] if packed else y
        loss, rnn_eval = torch.zeros(()), rnn.eval()
        for i, length in enumerate(lengths if packed else [5] * 3):
            weights = masked_weights(rnn, x_mask[i], [m[i] for m in h_masks])
            alone, end = functional_call(rnn_eval, weights, (x[:length, i],))
            assert_close(padded[:length, i], alone, 1e-12)
            loss = loss + alone.square().sum() + states(end)[0].sum()
        assert_close(ours, torch.autograd.grad(loss, list(rnn.parameters())), 1e-10)
        rnn.train()


# ---- all three -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("zoneout", [0.0, pytest.param(0.3, marks=pytest.mark.slow)], ids=["fused", "step by step"])
@pytest.mark.parametrize(
    ("cls", "options"), slow_unless((Conv2dGRU, {"reset_after": True}).__eq__, over_variants(SEQUENCES)), ids=case_id
)
def test_gradients(cls: type, options: dict, zoneout: float) -> None:
    can_mask = not cls.is_linear and options.get("reset_after", True)
    drawn = {"zoneout": zoneout, "variational_dropout": 0.4 if can_mask else (0.4, 0.0), "learn_initial_state": True}
    kernel_size = (1,) * (cls.ndim - 1) + (2,)
    rnn = cls(1, 2, kernel_size, bidirectional=True, dtype=torch.float64, **options, **drawn)
    fill(rnn)
    names, parameters = zip(*rnn.named_parameters(), strict=True)

    def seeded(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(1)  # the masks are the same at every call
        return tuple(tensors(functional_call(rnn, dict(zip(names, parameters, strict=True)), (x,))))

    x = torch.randn(2, 2, 1, *(1,) * (cls.ndim - 1), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(seeded, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"zoneout": (0.1, 0.2, 0.3)}, ValueError, r"zoneout.*\(0.1, 0.2, 0.3\)"),
        ({"zoneout": (0.1, 2)}, ValueError, r"zoneout\[1\].* 2"),
        ({"zoneout": "0.1"}, TypeError, "zoneout.* '0.1'"),
        ({"variational_dropout": -0.1}, ValueError, "variational_dropout.* -0.1"),
        ({"variational_dropout": (0.1,)}, ValueError, r"variational_dropout.*\(0.1,\)"),
        ({"learn_initial_state": 1}, TypeError, "learn_initial_state.* 1"),
    ],
)
def test_bad_values_are_named(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Conv2dLSTM(2, 3, 3, **kwargs)


def test_initial_state_has_the_form_of_the_last_state() -> None:
    for out_channels, unbatched in itertools.product((3, [3, 4]), (False, True)):
        rnn = Conv2dLSTM(2, out_channels, 3, num_layers=2, bidirectional=True, learn_initial_state=True)
        fill(rnn)
        x = torch.randn(4, 2, 2, 5, 6)
        x = x[:, 0] if unbatched else x
        y, last = rnn(x)
        first = rnn.initial_state(last)
        assert [s.shape for s in states(first)] == [s.shape for s in states(last)]
        assert_close(rnn(x, first)[0], y, 1e-6)
        gru = Conv2dGRU(2, out_channels, 3, num_layers=2)
        assert not any(s.any() for s in states(gru.initial_state(gru(x)[1])))

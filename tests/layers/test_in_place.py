"""In-place steps and derivatives equal the equations; cells without them run by their equations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from convrnn_zoo.layers import (
    Conv1dLSTM,
    Conv2dGRU,
    Conv2dLSTM,
    Conv2dPeepholeLSTM,
    Conv2dRNN,
    Conv3dGRU,
    ConvRNNBase,
    ConvRNNCellBase,
    _fused,
    _in_place,
)
from convrnn_zoo.layers._fused import convolve_inputs
from convrnn_zoo.layers._in_place import Buffers, fused_convs
from convrnn_zoo.layers._run import DirectionWeights, Maps
from convrnn_zoo.layers.gru import GRUEquations
from convrnn_zoo.layers.rnn import RNNInPlace
from convrnn_zoo.layers.variants import Conv2dLeakyGRU, Conv2dReLUGRU
from tests.helpers.layers.comparison import VARIANTS, assert_same, outcomes
from tests.helpers.layers.oracles import SEQUENCES, case_id, space

WRITTEN = [*VARIANTS, (Conv2dLeakyGRU, {}), (Conv2dReLUGRU, {})]


@pytest.mark.parametrize("n", [3, 2], ids=["all", "some of the batch"])
@pytest.mark.parametrize(("cls", "options"), WRITTEN, ids=case_id)
def test_the_step_and_its_derivative(cls: type, options: dict, n: int) -> None:
    rnn: Any = cls(2, 4, 3, dtype=torch.float64, **options)
    w, double = rnn._weights("_l0", 4), {"dtype": torch.float64}
    buffers = Buffers(torch.empty(3, 4, *space(rnn), **double), torch.float64)
    state = tuple(torch.randn(n, 4, *space(rnn), **double, requires_grad=True) for _ in rnn.states)
    joined = rnn.join(torch.zeros(1, len(w.ih)), torch.zeros(1, len(w.hh)))
    rows = [part.shape[1] for part in (joined if rnn.summed else [joined])]
    gates = [torch.randn(n, r, *space(rnn), **double, requires_grad=True) for r in rows]
    parts = [g.detach().clone() for g in gates]
    grads = tuple(torch.randn_like(s) for s in state)

    expected = rnn.step(tuple(gates) if rnn.summed else gates[0], state, w.extra)
    extra = [p for p in w.extra if p.requires_grad]
    expected_grads = torch.autograd.grad(expected, [*gates, *state, *extra], grads, allow_unused=True)

    step = rnn.in_place(rnn, tuple(p.detach() for p in w.extra), buffers, True)
    step.extra_grads = [torch.zeros_like(p) for p in w.extra]
    new, old = tuple(torch.empty_like(s) for s in state), tuple(s.detach() for s in state)
    step.forward(parts, old, new)
    torch.testing.assert_close(new, tuple(e.detach() for e in expected))
    into = [torch.full_like(part, torch.nan) for part in parts]
    to_state = step.backward(parts if step.saves_parts else (), old, new, tuple(g.clone() for g in grads), into)
    result = [*into, *to_state, *step.extra_grads]
    for f, e in zip(result, expected_grads, strict=True):
        torch.testing.assert_close(torch.zeros_like(e) if f is None and e is not None else f, e)


@pytest.mark.parametrize(("cls", "options"), WRITTEN, ids=case_id)
def test_a_backward_pass_does_not_run_the_forward_pass_again(
    cls: type, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn: Any = cls(2, 3, 3, **options)
    y, _ = rnn(torch.randn(3, 2, 2, *space(rnn)))
    monkeypatch.setattr(_fused.FusedLayer, "forward", None)
    monkeypatch.setattr(_in_place.Direction, "forward", None)
    y.sum().backward()
    assert all(p.grad is not None for p in rnn.parameters())


def test_every_layer_of_the_core_family_has_an_in_place_step() -> None:
    assert all(cls.in_place is not None or cls.is_linear for cls in SEQUENCES)


@pytest.mark.parametrize("message", ["vmap", "Batching rule not implemented"])
def test_an_error_in_a_backward_step_is_raised(message: str) -> None:
    class Failing(RNNInPlace):
        def backward(self, *args: Any) -> Any:
            raise RuntimeError(message)

    rnn: Any = type("FailingRNN", (Conv2dRNN,), {"in_place": Failing})(1, 2, 3)
    y, _ = rnn(torch.randn(3, 1, 1, 4, 4))
    with pytest.raises(RuntimeError, match=message):
        y.sum().backward()


def mixin(step: Callable[..., Any]) -> type:
    return type("Mixin", (), {"step": step})


@pytest.mark.parametrize("cls", [Conv2dRNN, Conv2dLSTM, Conv2dGRU])
@pytest.mark.parametrize("how", ["override", "mixin"])
def test_a_subclass_that_changes_the_step_declares_its_in_place_version(cls: type, how: str) -> None:
    def step(self: Any, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(0.5 * s for s in cls.step(self, gates, state, extra))

    def derive(**attributes: Any) -> Any:
        if how == "override":
            return type("Other", (cls,), {"step": step, **attributes})
        return type("Other", (mixin(step), cls), attributes)

    with pytest.raises(TypeError, match=r"Other.*in_place"):
        derive()
    other = derive(in_place=None)
    rnn = other(2, 3, 3, bidirectional=True, dtype=torch.float64)
    assert_same(*outcomes(rnn, [4, 2, 1], packed=True, with_state=True), tolerance=1e-10)
    assert type("Same", (cls,), {}).in_place is cls.in_place
    assert type("SubclassOfOther", (other,), {}).in_place is None


@pytest.mark.parametrize("name", ["join", "conv", "advance"])
def test_a_subclass_that_changes_another_part_of_the_step_declares_it_too(name: str) -> None:
    with pytest.raises(TypeError, match=r"Other.*in_place"):
        type("Other", (Conv2dLSTM,), {name: lambda self, *args: None})


@pytest.mark.parametrize(
    "value", [int, "RNNInPlace", RNNInPlace(None, (), Buffers(torch.empty(1, 1, 1), torch.float32), True)]
)
def test_in_place_must_be_a_class(value: Any) -> None:
    with pytest.raises(TypeError, match=r"Other\.in_place"):
        type("Other", (Conv2dLSTM,), {"in_place": value})


def test_a_cell_without_a_step_raises() -> None:
    class Empty(ConvRNNCellBase):
        ndim, gates, states = 1, 1, ("h",)

    with pytest.raises(NotImplementedError, match=r"Empty.* step"):
        Empty(1, 1, 1)(torch.randn(1, 1, 4))


@pytest.mark.parametrize(
    ("sizes", "n", "pixels", "count"),
    [((3, 8), 8, 64, 1), ((8, 16), 1, 64, 1), ((16, 32), 1, 64, 3), ((32, 64), 1, 16, 3), ((64, 64), 1, 16, 3)],
)
def test_gates_are_joined_where_the_zeros_of_the_joint_weight_cost_less_than_a_call(
    sizes: tuple[int, int], n: int, pixels: int, count: int
) -> None:
    """The faster of both ways, as measured by ``python -m benchmarks.comparisons joint``."""
    rnn = Conv2dGRU(*sizes, 3)
    convs = fused_convs(rnn, rnn._weights("_l0", sizes[1]), n * pixels, lambda *args: args)
    assert len(convs) == count


WIDE = [
    (Conv2dRNN, {}, (4, 2, 24, 3, 3)),
    (Conv2dLSTM, {"learn_initial_state": True}, (4, 2, 24, 3, 3)),
    (Conv2dPeepholeLSTM, {"bidirectional": True}, (4, 2, 24, 3, 3)),
    (Conv2dGRU, {"bidirectional": True, "variational_dropout": 0.5}, (4, 2, 24, 3, 3)),
    (Conv2dGRU, {"reset_after": False, "padding_mode": "circular"}, (4, 2, 24, 3, 3)),
    (Conv1dLSTM, {"bias": False}, (3, 2, 24, 4)),
    (Conv3dGRU, {"num_layers": 2}, (3, 1, 24, 2, 2, 2)),
]
"""Layers whose weights have more values for a row of gates than the maps of all steps have pixels."""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize(("layer", "options", "shape"), WIDE)
def test_convolving_the_inputs_of_all_steps_changes_no_value(
    layer: Any, options: Any, shape: Any, checkpointed: bool, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    rnn, x = layer(24, 16, 3, **options), torch.randn(shape, requires_grad=True)
    rnn.grad_checkpointing = checkpointed
    lengths = [shape[0] - i for i in range(shape[1])]

    def run() -> list[torch.Tensor]:
        torch.manual_seed(1)
        output, state = rnn(pack_padded_sequence(x, lengths) if packed else x)
        output = output.data if packed else output
        values = [output, *(state if isinstance(state, tuple) else (state,))]
        return [*values, *torch.autograd.grad(sum(v.sin().sum() for v in values), [x, *rnn.parameters()])]

    calls = []
    monkeypatch.setattr(_fused, "convolve_inputs", lambda *a, **k: calls.append(1) or convolve_inputs(*a, **k))
    expected = run()
    assert not calls  # the weights are small
    monkeypatch.setattr(_fused, "LARGE_VALUES", 0)
    torch.testing.assert_close(run(), expected)
    assert len(calls) == rnn.num_layers


def test_weights_of_the_input_that_do_not_learn_have_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fused, "LARGE_VALUES", 0)
    rnn = Conv2dGRU(24, 16, 3)
    rnn.weight_ih_l0.requires_grad_(False)
    rnn.bias_ih_l0.requires_grad_(False)
    rnn(torch.randn(4, 1, 24, 3, 3))[0].sin().sum().backward()
    assert rnn.weight_ih_l0.grad is None
    assert rnn.weight_hh_l0.grad.abs().sum() > 0


class OwnAdvance(GRUEquations, ConvRNNBase):
    """A GRU that doubles what the input contributes, in an `advance` of its own."""

    ndim = 2
    in_place = None

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        return self.step(self.join(2 * self.conv(x, w.ih, w.b_ih), self.conv(state[0], w.hh, w.b_hh)), state, w.extra)


def test_a_compiled_layer_leaves_the_input_to_an_advance_of_its_own() -> None:
    rnn, x = OwnAdvance(2, 3, 3), torch.randn(3, 2, 2, 5, 5)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(rnn, backend="eager", fullgraph=True)(x)[0], rnn(x)[0])


@pytest.mark.parametrize(
    ("channels", "wrap"),
    [(256, lambda rnn: rnn), (3, lambda rnn: torch.compile(rnn, backend="eager"))],
    ids=["large", "compiled"],
)
def test_a_layer_in_double_precision_reads_float32_under_autocast(channels: int, wrap: Callable[..., Any]) -> None:
    torch._dynamo.reset()
    rnn, x = Conv2dGRU(channels, channels, 3, dtype=torch.float64), torch.randn(2, 1, channels, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = wrap(rnn)(x)
    torch.testing.assert_close(y, rnn(x.double())[0])

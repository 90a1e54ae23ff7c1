"""Higher derivatives, function transforms, compilers, autocast and memory layouts of a layer."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from convrnn_zoo.layers import Conv1dGRU, Conv2dGRU, Conv2dLSTM, Conv2dMinGRU, _fused
from tests.helpers.layers.comparison import VARIANTS
from tests.helpers.layers.oracles import case_id, space
from tests.helpers.registry import slow_unless


def layer(cls: type, options: dict, **kwargs: object) -> tuple[nn.Module, Tensor]:
    rnn = cls(2, 3, 3, **options, **kwargs)
    return rnn, torch.randn(3, 2, 2, *space(rnn, 3), dtype=kwargs.get("dtype"))


# torch's own: forward mode compiles a script at its first use, and scripts and traces are deprecated
BY_TORCH = pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning",
    "ignore:.torch.jit:FutureWarning",
    "ignore:Please use .torch.vmap.:FutureWarning",  # by gradcheck of torch 2.6 itself
)


@BY_TORCH
@pytest.mark.parametrize("recompute", [False, True], ids=["copies", "recomputed"])
@pytest.mark.parametrize(("cls", "options"), slow_unless(lambda v: v[0] is Conv2dLSTM, VARIANTS), ids=case_id)
def test_gradients_can_be_differentiated(cls: type, options: dict, recompute: bool) -> None:
    rnn = cls(1, 1, (1,) * (cls.ndim - 1) + (2,), dtype=torch.float64, **options)  # every entry is differentiated twice
    rnn.grad_checkpointing = recompute
    x = torch.randn(2, 2, 1, *(1,) * (cls.ndim - 1), 2, dtype=torch.float64, requires_grad=True)

    def flat(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        y, state = functional_call(rnn, dict(zip(names, parameters, strict=True)), (x,))
        return y, *(state if isinstance(state, tuple) else (state,))

    names, parameters = zip(*rnn.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(flat, (x, *parameters), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(flat, (x, *parameters), fast_mode=True)


@BY_TORCH
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_function_transforms(cls: type, options: dict) -> None:
    rnn, x = layer(cls, options)
    parameters = dict(rnn.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(rnn, parameters, (x,))[0].square().sum()

    loss(parameters, x).backward()
    for name, gradient in grad(loss)(parameters, x).items():
        torch.testing.assert_close(gradient, parameters[name].grad, rtol=1e-4, atol=1e-5)
    per_sample = vmap(grad(loss), (None, 0))(parameters, x.transpose(0, 1).unsqueeze(2))
    for name, gradient in per_sample.items():
        torch.testing.assert_close(gradient.sum(0), parameters[name].grad, rtol=1e-4, atol=1e-5)
    direction = torch.randn_like(x)
    y, tangent = jvp(lambda x: rnn(x)[0], (x,), (direction,))
    x.requires_grad_()
    (pulled,) = torch.autograd.grad(rnn(x)[0], x, torch.ones_like(y))
    torch.testing.assert_close(tangent.sum(), (pulled * direction).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("cls", "options"),
    slow_unless((Conv2dGRU, {"reset_after": False}).__eq__, VARIANTS),
    ids=case_id,
)
def test_compiles_without_breaks_and_once_for_every_batch(cls: type, options: dict) -> None:
    torch._dynamo.reset()
    graphs = []

    def backend(module: torch.fx.GraphModule, _: list) -> torch.fx.GraphModule:
        graphs.append(module)
        return module

    rnn, _ = layer(cls, options, bidirectional=True)
    compiled = torch.compile(rnn, fullgraph=True, backend=backend, dynamic=True)
    for n in (7, 8, 11):  # no other axis has these: equal ones would be taken for the same
        x = torch.randn(3, n, 2, *space(rnn, 3))
        torch.testing.assert_close(compiled(x)[0], rnn(x)[0], rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1


@pytest.mark.parametrize("mode", ["zeros", ("zeros", "circular")])
def test_channels_last_input_and_weights_change_nothing(mode: str | tuple[str, ...]) -> None:
    rnn, x = Conv2dLSTM(3, 4, 3, padding_mode=mode), torch.randn(2, 5, 3, 6, 7)
    expected, _ = rnn(x)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (2, 5))
    torch.testing.assert_close(rnn(last)[0], expected)
    torch.testing.assert_close(rnn.to(memory_format=torch.channels_last)(last)[0], expected)


def test_inference_does_not_hand_out_its_buffers() -> None:
    rnn, x = Conv2dLSTM(2, 3, 3), torch.randn(4, 2, 2, 5, 5)
    with torch.no_grad():
        y, (h, c) = rnn(x)
        copies = y.clone(), h.clone(), c.clone()
        rnn(x + 1, (h, c))
    for now, before in zip((y, h, c), copies, strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize("grad_mode", [False, True])
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_vmap_over_the_input(cls: type, options: dict, grad_mode: bool) -> None:
    rnn, x = layer(cls, options, bidirectional=True)
    xs = torch.stack([x, x + 1], 1)
    with torch.set_grad_enabled(grad_mode):
        result = vmap(lambda x: rnn(x)[0], in_dims=1)(xs)
    for i in (0, 1):
        torch.testing.assert_close(result[i], rnn(xs[:, i])[0])


@pytest.mark.parametrize("cls", [Conv2dGRU, Conv2dLSTM, Conv2dMinGRU])
def test_the_penalty_of_a_gradient_under_autocast(cls):
    rnn, x = cls(1, 2, 3), torch.randn(3, 2, 1, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = rnn(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    g.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in rnn.parameters())


@pytest.mark.parametrize("options", [{"zoneout": 0.1}, {"groups": 2}, {"norm": "layer"}], ids=str)
def test_layers_with_checkpoints_are_differentiated_by_torch_func(options):
    rnn, x = Conv2dLSTM(2, 4, 3, **options).eval(), torch.randn(5, 1, 2, 4, 4)
    expected = grad(lambda x: rnn(x)[0].sum())(x)
    rnn.grad_checkpointing = True
    torch.testing.assert_close(grad(lambda x: rnn(x)[0].sum())(x), expected)


@BY_TORCH
def test_derivatives_of_layers_that_convolve_all_inputs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of second order, in forward mode, and per sequence."""
    monkeypatch.setattr(_fused, "LARGE_VALUES", 0)
    torch.manual_seed(0)
    rnn = Conv1dGRU(4, 2, 3, bidirectional=True, dtype=torch.float64)
    x = torch.randn(2, 1, 4, 3, dtype=torch.float64, requires_grad=True)
    assert _fused.reads_weights_longest(x, rnn.weight_ih_l0)
    assert torch.autograd.gradgradcheck(lambda x: rnn(x)[0], x, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: rnn(x)[0], x, check_forward_ad=True, check_batched_grad=True)
    xs = torch.stack([x.detach(), 2 * x.detach()])
    torch.testing.assert_close(torch.vmap(lambda x: rnn(x)[0])(xs), torch.stack([rnn(x)[0] for x in xs]))

"""Derivatives of derivatives, function transforms, compilers, autocast, layouts: what else torch does to a layer."""

import pytest
import torch
from reference import VARIANTS, case_id, fused, space
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTM, _fused, set_fused


def layer(cls: type, options: dict, **kwargs: object) -> tuple[nn.Module, Tensor]:
    rnn = cls(2, 3, 3, **options, **kwargs)
    return rnn, torch.randn(3, 2, 2, *space(rnn, 3), dtype=kwargs.get("dtype"))


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_gradients_can_be_differentiated(cls: type, options: dict, recompute: bool) -> None:
    rnn = cls(1, 1, 3, dtype=torch.float64, **options)
    rnn.grad_checkpointing = recompute
    x = torch.randn(2, 2, 1, *(2,) * rnn.ndim, dtype=torch.float64, requires_grad=True)

    def flat(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        y, state = functional_call(rnn, dict(zip(names, parameters, strict=True)), (x,))
        return y, *(state if isinstance(state, tuple) else (state,))

    names, parameters = zip(*rnn.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(flat, (x, *parameters))
    assert torch.autograd.gradgradcheck(flat, (x, *parameters))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by jvp itself
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


@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_compiles_whole_and_once_for_every_batch(cls: type, options: dict) -> None:
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_autocast_leaves_states_and_output_in_the_weights_dtype(cls: type, options: dict, dtype: torch.dtype) -> None:
    rnn, x = layer(cls, options)
    full, _ = rnn(x)
    with torch.autocast("cpu", dtype=dtype):
        y, state = rnn(x)
        again, _ = rnn(x.to(dtype), state)
    assert {t.dtype for t in (y, again, *(state if isinstance(state, tuple) else (state,)))} == {torch.float32}
    torch.testing.assert_close(y, full, rtol=0.05, atol=0.05)
    y.sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in rnn.parameters())


def test_channels_last_input_and_weights_change_nothing() -> None:
    rnn, x = Conv2dLSTM(3, 4, 3), torch.randn(2, 5, 3, 6, 7)
    expected, _ = rnn(x)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (2, 5))
    torch.testing.assert_close(rnn(last)[0], expected)
    torch.testing.assert_close(rnn.to(memory_format=torch.channels_last)(last)[0], expected)


def test_deterministic_algorithms_and_inference_mode() -> None:
    rnn, x = Conv2dGRU(3, 4, 3), torch.randn(4, 2, 3, 6, 7)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.inference_mode():
            expected, _ = rnn(x)
        y, _ = rnn(x)
        y.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(y, expected)


def test_inference_does_not_hand_out_its_buffers() -> None:
    rnn, x = Conv2dLSTM(2, 3, 3), torch.randn(4, 2, 2, 5, 5)
    with torch.no_grad():
        y, (h, c) = rnn(x)
        kept = y.clone(), h.clone(), c.clone()
        rnn(x + 1, (h, c))
    for now, before in zip((y, h, c), kept, strict=True):
        assert torch.equal(now, before)


def test_a_checkpoint_around_the_layer() -> None:
    rnn, x = Conv2dLSTM(2, 3, 3), torch.randn(4, 2, 2, 5, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(rnn(x)[0].square().sum(), x)
    y, _ = torch.utils.checkpoint.checkpoint(rnn, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], expected)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by torch's compiler itself, at its import
def test_fused_wants_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def missing() -> str:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    _fused._need_compiler.cache_clear()  # an earlier test may have found one
    with pytest.raises(RuntimeError, match=r"expected a C\+\+ compiler .*; install g\+\+"):
        set_fused(True)
    assert set_fused(False) is False


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_fused_is_what_was_asked_for() -> None:
    with fused():
        assert set_fused(True) is True
    assert set_fused(False) is False

"""Every forecaster: shapes, horizons, sizes, errors, training, saving and devices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import group_parameters
from torch import nn

import convrnn_zoo
from convrnn_zoo.layers import ConvRNNBase, ConvRNNCellBase
from convrnn_zoo.models.base.forecaster import EnsembleForecaster
from convrnn_zoo.models.nowcast.decisions import THRESHOLDS
from convrnn_zoo.pretrained.registry import SMALL
from tests.helpers.models.forecasters import FULL, NAMES, tiny
from tests.helpers.registry import slow_unless

LARGE = ("convgru_advection", "convgru_hko7", "dgmr", "trajgru_hko7")  # take as long as a dozen others
EVERY = pytest.mark.parametrize("name", slow_unless(lambda n: n not in LARGE, NAMES))


def frames(model, steps=3, batch=1, height=1, width=1, **kind):
    """Returns frames with a height and width in units of the model, and the number of steps that it requires."""
    unit, steps = model.reduction, model.input_frames or steps
    return torch.rand(batch, steps, model.in_chans, unit * height, unit * width, **kind)


def drawn(model, x, horizon=None):
    """The noise of one member, always the same, for a model that reads some."""
    if not isinstance(model, EnsembleForecaster):
        return {}
    return {"noise": model.draw_noise(x, horizon, torch.Generator(x.device).manual_seed(3))}


def actual(model, x, **kwargs):
    """The forecast, one of many where there is noise, and for autoregressive models all else that training reads."""
    more = {"return_aux": True} if hasattr(model, "advance") else {}
    noise = {} if "noise" in kwargs else drawn(model, x, kwargs.get("horizon"))
    out = model(x, **noise, **more, **kwargs)
    if isinstance(out, torch.Tensor):
        return [out]
    return [out.forecast, out.warmup, *(t for pair in out.deltas for t in pair)]


@EVERY
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_any_length_horizon_size_and_channels(name, data):
    size = st.integers(1, 3)
    batch, steps, horizon, height, width, channels = (data.draw(size, label=k) for k in "NThHWC")
    model = tiny(name, in_chans=channels).eval()
    x = frames(model, steps, batch, height, width)
    out = model(x, horizon)
    assert out.shape == (batch, horizon, *x.shape[2:])
    assert out.isfinite().all()


@EVERY
def test_a_sequence_does_not_see_its_neighbours_and_time_runs_forward(name):
    model = tiny(name).eval()
    x = frames(model, batch=2, height=2, width=3)
    out = model(x, horizon=4)
    torch.testing.assert_close(model(x[1:], horizon=4), out[1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x, horizon=2), out[:, :2])
    for t in range(x.shape[1]):  # every frame is read
        other = x.clone()
        other[:, t] = 1 - other[:, t]
        assert not torch.equal(model(other, horizon=4), out)


@EVERY
def test_an_empty_batch_gives_an_empty_forecast(name):
    model = tiny(name)
    outputs = actual(model, frames(model, steps=3, batch=0, height=2), horizon=2)
    for out, of_one in zip(outputs, actual(model, frames(model, steps=3, batch=1, height=2), horizon=2), strict=True):
        assert out.shape == (0, *of_one.shape[1:])
    sum(out.sum() for out in outputs).backward()
    assert all((p.grad == 0).all() for p in model.parameters() if p.requires_grad)


@EVERY
def test_errors_name_invalid_input(name):
    model = tiny(name)
    x, unit = frames(model), model.reduction
    for bad, error, message in (
        (x[0], ValueError, r"\bx .*\(\d, \d, \d+, \d+\)"),
        (x[:, :, :0], ValueError, r"channels.*axis 2 of x.* 0"),
        (x[:, :0], ValueError, r"\bx .*\(1, 0, \d, \d+, \d+\)"),
        (x[..., 1:], ValueError, rf"{unit}.*\({unit}, {unit - 1}\)" if unit > 1 else "at least one pixel"),
        (x.double(), TypeError, r"torch.float32.*\bx .*torch.float64"),
        (x.numpy(), TypeError, r"\bx .*ndarray"),
    ):
        with pytest.raises(error, match=message):
            model(bad)
    for horizon, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f"horizon.* {horizon}"):
            model(x, horizon)
        with pytest.raises(error, match=f"horizon.* {horizon}"):
            tiny(name, horizon=horizon)


@EVERY
def test_constructor_rejects_unknown_arguments(name):
    with pytest.raises(TypeError, match="no_such_option"):
        tiny(name, no_such_option=1)
    with pytest.raises(ValueError, match=r"num_classes.* 5"):
        tiny(name, num_classes=5)
    for bad in (0, (3, 0, 3)):
        with pytest.raises((ValueError, TypeError)):
            convrnn_zoo.create_model(name, hidden_channels=bad)
        for width in SMALL[name]:
            with pytest.raises((ValueError, TypeError), match=width):
                tiny(name, **{width: bad})


@EVERY
def test_every_parameter_gets_a_gradient_with_checkpointing_and_without(name):
    model = tiny(name, dtype=torch.float64)
    for p in model.parameters():
        if p.requires_grad and not p.any():  # a gain of zero would hide its input
            nn.init.constant_(p, 0.5)
    x = frames(model, height=2, width=2, dtype=torch.float64)
    grads = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        sum(t.square().sum() for t in actual(model, x, horizon=3)).backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for n in grads[0]:
        assert grads[0][n] is not None, n
        assert grads[0][n].abs().max() > 0, n
        torch.testing.assert_close(grads[0][n], grads[1][n], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", slow_unless("convgru_forecaster".__eq__, NAMES))
def test_overfits_one_batch(name):
    width = {} if "hidden_channels" not in SMALL[name] or name == "motionrnn_predrnn" else {"hidden_channels": 12}
    model = tiny(name, **width)
    inputs = model.input_frames or 2
    x = torch.zeros(1, inputs + 2, 1, model.reduction * 2, model.reduction * 2)
    for t in range(inputs + 2):  # a bar that moves
        x[:, t, :, :, t * model.reduction // 2 : (t + 1) * model.reduction // 2] = 1
    lr = {"dgmr": 0.003, "sg_convlstm": 0.02}.get(name, 0.01)  # a step too large can end the ReLUs of one so narrow
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(1000):
        if hasattr(model, "exceedance"):  # the rates also depend on decisions, which are not trained
            output, truth = model.exceedance(x[:, :inputs], 2).logits.sigmoid(), x[:, inputs:, ..., None, :, :]
            truth = (truth >= torch.tensor(THRESHOLDS)[:, None, None]).float()
        else:
            output, truth = model(x[:, :inputs], horizon=2), x[:, inputs:]
        loss = (output - truth).square().mean()
        if loss < 0.002:  # of 0.25 for a forecast of zeros
            return
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    pytest.fail(f"still at {loss:.4f}")


@EVERY
def test_device_and_dtype_place_every_tensor(name):
    model = tiny(name, device="meta", dtype=torch.float64).eval()
    tensors = [*model.parameters(), *model.buffers()]
    assert all(t.is_meta and t.dtype in (torch.float64, torch.int64) for t in tensors)
    assert {t.dtype for t in model.parameters()} == {torch.float64}
    out = model(frames(model, steps=2, device="meta", dtype=torch.float64), horizon=1)
    assert out.is_meta
    assert out.shape == (1, 1, 1, model.reduction, model.reduction)


@EVERY
def test_half_precision_and_autocast_are_near_single_precision(name):
    model = tiny(name).eval()
    x = frames(model)
    complete = model(x, horizon=2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(x, horizon=2).float(), complete, rtol=0.1, atol=0.05)
    half = model.bfloat16()(x.bfloat16(), horizon=2)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), complete, rtol=0.1, atol=0.05)


@EVERY
def test_timm_attributes(name):
    model = tiny(name)
    parameters = dict(model.named_parameters())
    assert model.no_weight_decay() <= parameters.keys()
    groups = group_parameters(model, model.group_matcher())
    assert len(groups) > 2
    assert sorted(n for g in groups.values() for n in g) == sorted(parameters)
    assert (model.num_classes, model.in_chans) == (0, model.default_cfg["input_size"][0])
    assert all(s % FULL[name].reduction == 0 for s in model.default_cfg["input_size"][1:])
    convolutions = [m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and n != "adapter"]
    states = [m.widths[-1] if isinstance(m, ConvRNNBase) else m.out_channels for m in recurrent_modules(model)]
    assert model.num_features == (convolutions[-1].in_channels if convolutions else states[-1])
    with pytest.raises(ValueError, match="features_only"):
        tiny(name, features_only=True)


def recurrent_modules(model):
    return [m for m in model.modules() if isinstance(m, ConvRNNBase | ConvRNNCellBase)]


KINDS = {(type(m), *{type(part) for part in m.modules() if hasattr(part, "gates")}): n for n, m in FULL.items()}
"""One name of each network that consists of the same parts."""


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_unless("convgru_forecaster".__eq__, sorted(KINDS.values())))
def test_is_one_graph_forward_and_back(name):
    torch.compiler.reset()
    normed = any(isinstance(m, nn.BatchNorm2d) for m in FULL[name].modules())
    kind = torch.float64 if normed else torch.float32  # statistics of few values magnify rounding
    model = tiny(name, dtype=kind)
    x = frames(model, steps=2, dtype=kind)
    noise = drawn(model, x, 2)
    expected = actual(model, x, horizon=2, **noise)
    compiled = torch.compile(lambda x: actual(model, x, horizon=2, **noise), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)
    sum(t.square().sum() for t in compiled(x)).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

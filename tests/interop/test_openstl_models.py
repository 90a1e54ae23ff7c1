"""OpenSTL's PredRNN++, MIM, MAU, PhyDNet and E3D-LSTM: its outputs, from its state dicts, by our networks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, interop
from convrnn_zoo.layers.phycell import moments
from tests.helpers.interop.openstl_states import MODELS, known, read, weights
from tests.helpers.interop.recorded import recorded
from tests.helpers.registry import slow_unless

EVERY = pytest.mark.parametrize("name", MODELS)
ENTRIES = [(name, key) for name in MODELS for key in weights(name) if key not in known(name).dead]


def load(name: str, state: dict[str, Tensor] | None = None, **options: Any) -> Any:
    return interop.load("openstl", known(name).state if state is None else state, **MODELS[name][1] | options)


def assert_agree(actual: Tensor, expected: Tensor) -> None:
    """Compares to 1e-5 of the range of the expected values."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * (expected.max() - expected.min())


def concat_outputs(output: Any) -> Tensor:
    return torch.cat([output.warmup, output.forecast], dim=1)


@EVERY
@torch.no_grad()
def test_forecasts(name: str) -> None:
    about, x, horizon = read(name)
    model = load(name, horizon=horizon)
    assert model.pretrained_cfg["architecture"] == MODELS[name][0]
    output = model(x, return_aux=True)
    expected = about.values["y.pred"]
    if name == "openstl_phydnet":  # its recording has both separately
        assert_agree(concat_outputs(output)[:, : x.shape[1]], about.values["y.warm"])
        assert_agree(output.forecast, expected)
    else:
        assert_agree(concat_outputs(output), expected)


@torch.no_grad()
def test_e3d_lstm_of_two_channels() -> None:
    """Every convolution that reads frames has its channels in another order than OpenSTL's patches."""
    about = recorded("openstl_e3dlstm_channels")
    assert_agree(interop.load("openstl", about.state, **about.kwargs).eval()(about.values["x"]), about.values["y"])


@pytest.mark.parametrize("name", [n for n in MODELS if "y.pred_sampled" in known(n).values])
@torch.no_grad()
def test_teacher_frames_are_read_in_training(name: str) -> None:
    about, x, horizon = read(name)
    model = load(name)
    teacher = about.values["x.frames"][:, x.shape[1] :]
    inputs_mask = torch.ones(len(x), x.shape[1] - 1, dtype=torch.bool)
    masks = {"y.pred_sampled": torch.cat([inputs_mask, about.values["x.sampled"].bool()], dim=1)}
    if "x.rsampled" in about.values:
        masks["y.pred_reverse"] = about.values["x.rsampled"].bool()
    for expected, mask in masks.items():
        assert not mask.all()
        output = model(x, teacher=teacher, mask=mask, return_aux=True)
        assert output.forecast.shape[1] == horizon
        assert_agree(concat_outputs(output), about.values[expected])


@torch.no_grad()
def test_phydnets_branches() -> None:
    about, x, _ = read("openstl_phydnet")
    model, images = load("openstl_phydnet"), []
    state = model.start(x[:, 0])
    for frame in x.unbind(1):
        _, state = model.advance(frame, state)
        parts = {"physics": state[0], "rest": state[-2]}
        images.append([model.image(model.decoders[branch](h)).sigmoid() for branch, h in parts.items()])
    assert_agree(state[0], about.values["y.phycell_H"])
    for key, outputs in zip(("y.warm_phys", "y.warm_conv"), zip(*images, strict=True), strict=True):
        assert_agree(torch.stack(outputs, dim=1), about.values[key])


def test_moments_are_those_of_phydnets_matrices() -> None:
    """Its buffers give moments by rows and by columns."""
    state = known("openstl_phydnet").state
    filters = state["phycell.cell_list.0.F.conv1.weight"].double()
    by_row, by_column = state["k2m._M0"], state["k2m._M1"]
    torch.testing.assert_close(moments(filters), by_row @ filters @ by_column.T)
    torch.testing.assert_close(load("openstl_phydnet").moments(), moments(filters).float(), rtol=1e-4, atol=1e-5)


@EVERY
def test_every_weight_is_loaded_but_for_unused_ones(name: str, caplog: pytest.LogCaptureFixture) -> None:
    about = known(name)
    with caplog.at_level("WARNING", "convrnn_zoo"):
        model = load(name)
    assert all(key in caplog.text for key in about.dead)
    assert bool(caplog.text) == bool(about.dead)
    forget = sum(v.numel() // 7 for k, v in about.state.items() if "conv_x.0.conv3d" in k)  # the f' of an E3D-LSTM
    used = sum(v.numel() for key, v in weights(name).items() if key not in about.dead)
    assert sum(p.numel() for p in model.parameters()) == used - forget
    without = load(name, {key: value for key, value in about.state.items() if key not in about.dead})
    assert all(torch.equal(p, q) for p, q in zip(without.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(("name", "key"), slow_unless(ENTRIES[::6].__contains__, ENTRIES))
def test_a_wrong_entry_is_named(name: str, key: str) -> None:
    state = known(name).state
    with pytest.raises(WeightsError) as e:
        load(name, {k: v for k, v in state.items() if k != key})
    assert f"missing: {key}" in str(e.value)
    assert "(" not in str(e.value)  # no shape is doubted
    with pytest.raises(WeightsError, match="of another shape: ") as e:
        load(name, {**state, key: torch.cat([state[key], state[key][:1]])})
    assert f"{key} {(len(state[key]) + 1, *state[key].shape[1:])} for (" in str(e.value)


@EVERY
def test_rejects_invalid_states_and_options(name: str) -> None:
    state = known(name).state
    with pytest.raises(WeightsError, match=r"unexpected: head\.weight"):
        load(name, {**state, "head.weight": torch.zeros(2, 2)})
    with pytest.raises(WeightsError, match="patch_size"):
        load(name, patch_size=3)
    if name != "openstl_mau":
        with pytest.raises(TypeError, match="tau"):
            load(name, tau=2)
    if name == "openstl_predrnnpp":
        key = "gradient_highway.x_concat.1.weight"
        with pytest.raises(WeightsError, match=rf"{key}.*layer_norm=0"):
            load(name, {**state, key: torch.zeros(16, 4, 6)})


@EVERY
def test_recognised_by_its_keys_also_within_a_larger_model(name: str) -> None:
    state = known(name).state
    assert interop.recognise(state).source.name == "openstl"
    larger = {f"net.{k}": v for k, v in state.items()} | {"head.weight": torch.zeros(2, 2)}
    same = interop.load("auto", larger, prefix="net.", **MODELS[name][1])
    assert all(torch.equal(p, q) for p, q in zip(same.parameters(), load(name).parameters(), strict=True))
    assert type(load(name, {f"model.{k}": v for k, v in state.items()})) is type(same)  # as a trainer writes it


def test_phydnets_second_copies_must_be_copies() -> None:
    state = known("openstl_phydnet").state
    twice = {f"encoder.{k}": v for k, v in state.items() if k.startswith(("phycell.", "convcell."))}
    assert twice
    model = load("openstl_phydnet", {**state, **twice})
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), load("openstl_phydnet").parameters(), strict=True))
    key = next(iter(twice))
    with pytest.raises(WeightsError, match=key):
        load("openstl_phydnet", {**state, **twice, key: twice[key] + 1})


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_phydnets_cells_may_be_stored_once_under_either_name(prefix: str) -> None:
    state = known("openstl_phydnet").state
    once = {f"{prefix}{k}" if k.startswith(("phycell.", "convcell.")) else k: v for k, v in state.items()}
    expected = load("openstl_phydnet").state_dict()
    for source in ("openstl", "auto"):
        actual = interop.load(source, once, patch_size=4).state_dict()
        assert all(torch.equal(actual[key], value) for key, value in expected.items())


def test_maus_modes() -> None:
    model = load("openstl_mau", cell_mode="residual", model_mode="recall")
    assert model.recall
    assert all(layer.residual for layer in model.layers)
    assert [layer.tau for layer in load("openstl_mau", tau=4).layers] == [4, 4]
    with pytest.raises(ValueError, match=r"model_mode.*recall"):
        load("openstl_mau", model_mode="residual")


@pytest.mark.parametrize("option", ["tau", "cell_mode", "model_mode"])
def test_a_mau_requires_what_its_weights_do_not_show(option: str) -> None:
    options = {k: v for k, v in MODELS["openstl_mau"][1].items() if k != option}
    with pytest.raises(WeightsError, match=option):
        interop.load("openstl", known("openstl_mau").state, **options)


@pytest.mark.parametrize("tau", [0, -1, 2.5, "5", True])
def test_maus_tau_is_a_positive_integer(tau: Any) -> None:
    with pytest.raises(ValueError, match="tau"):
        load("openstl_mau", tau=tau)

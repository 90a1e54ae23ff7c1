"""OpenSTL's PredRNN++, MIM, MAU, PhyDNet and E3D-LSTM: its outputs, from its state dicts, by our networks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, interop
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


@pytest.mark.parametrize("name", ["openstl_e3dlstm_channels", "openstl_e3dlstm_stride", "openstl_prednet"])
@torch.no_grad()
def test_forecasts_of_two_channels(name: str) -> None:
    """Every convolution that reads frames has its channels in another order than OpenSTL's patches."""
    about = recorded(name)
    model = interop.load("auto", about.state, **about.kwargs).eval()
    assert_agree(model(about.values["x"]), about.values["y"])
    if name == "openstl_prednet":
        with pytest.raises(WeightsError, match=r"patch_size of 1, got 2"):
            interop.load("openstl", about.state, patch_size=2)


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


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_phydnets_cells_may_be_stored_once_under_either_name(prefix: str) -> None:
    state = known("openstl_phydnet").state
    once = {f"{prefix}{k}" if k.startswith(("phycell.", "convcell.")) else k: v for k, v in state.items()}
    expected = load("openstl_phydnet").state_dict()
    for source in ("openstl", "auto"):
        actual = interop.load(source, once, patch_size=4).state_dict()
        assert all(torch.equal(actual[key], value) for key, value in expected.items())


@pytest.mark.parametrize("option", ["tau", "cell_mode", "model_mode"])
def test_a_mau_requires_what_its_weights_do_not_show(option: str) -> None:
    options = {k: v for k, v in MODELS["openstl_mau"][1].items() if k != option}
    with pytest.raises(WeightsError, match=option):
        interop.load("openstl", known("openstl_mau").state, **options)

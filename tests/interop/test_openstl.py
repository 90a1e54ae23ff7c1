"""OpenSTL's models: its outputs, from its state dicts, by our networks, the order of values in a patch, and errors."""

import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, interop, models
from tests.helpers.interop.recorded import Recorded, assert_agree, assert_close, recorded
from tests.helpers.registry import slow_unless

NAMES = {
    "openstl_convlstm": "convlstm_openstl_s",
    "openstl_predrnn": "predrnn",
    "openstl_predrnnv2": "predrnn_v2",
}
"""Recordings of frames in patches, and the zoo's names."""
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "openstl_predrnnpp": ("predrnn_pp", {"patch_size": 2}),
    "openstl_mim": ("mim", {"patch_size": 2}),
    "openstl_mau": ("mau", {"patch_size": 1, "tau": 3, "cell_mode": "normal", "model_mode": "normal"}),
    "openstl_phydnet": ("phydnet", {"patch_size": 4}),
    "openstl_e3dlstm": ("e3d_lstm", {"patch_size": 2}),
    "openstl_convlstm_norm": ("convlstm_openstl_s", {"patch_size": 2}),
    "openstl_predrnn_norm": ("predrnn", {"patch_size": 2}),
    "openstl_predrnnv2_norm": ("predrnn_v2", {"patch_size": 2}),
    "openstl_mim_norm": ("mim", {"patch_size": 2}),
    "openstl_e3dlstm_norm": ("e3d_lstm", {"patch_size": 2}),
}
"""Recordings of frames with the zoo's name and the options of the conversion; ``_norm`` is trained with norms."""
NORMED = [name for name in MODELS if name.endswith("_norm")]
NORM = re.compile(r"(.*\.conv_\w+)\.1\.(?:weight|bias)")
EVERY = pytest.mark.parametrize("name", MODELS)


@cache
def known(name: str) -> Recorded:
    """Returns the recording. It is read once, so callers must not change it."""
    return recorded(name)


def weights(name: str) -> dict[str, Tensor]:
    """Returns the parameters that are used, without the buffers that PhyDNet's file also holds."""
    return {k: v for k, v in known(name).state.items() if not k.startswith("k2m.") and k not in known(name).dead}


PLAIN = [name for name in MODELS if name not in NORMED]
ENTRIES = [(name, key) for name in PLAIN for key in weights(name)]
NORMS = [(name, key) for name in NORMED for key in weights(name) if NORM.fullmatch(key)]


def load(name: str, state: dict[str, Tensor] | None = None, **options: Any) -> Any:
    return interop.load("openstl", known(name).state if state is None else state, **MODELS[name][1] | options)


def assert_agree_in_range(actual: Tensor, expected: Tensor) -> None:
    """Compares to 1e-5 of the range of the expected values."""
    assert_agree(actual, expected, expected.max() - expected.min())


def concat_outputs(output: Any) -> Tensor:
    return torch.cat([output.warmup, output.forecast], dim=1)


# ---- outputs -------------------------------------------------------------------------------------------------------
def unpatchify(patches: Tensor, patch_size: int) -> Tensor:
    """Reshapes patches ``(N, T, H/p, W/p, p·p·C)``, pixels before channels, to frames ``(N, T, C, H, W)``."""
    n, t, h, w, _ = patches.shape
    p = patch_size
    return patches.reshape(n, t, h, w, p, p, -1).permute(0, 1, 6, 2, 4, 3, 5).reshape(n, t, -1, h * p, w * p)


@pytest.mark.parametrize(
    ("name", "patch_size"),
    [(name, p) for name in NAMES for p in (1, 2, 4) if recorded(name).values["frames"].shape[-1] % p**2 == 0],
)
def test_forecasts_of_patches(name: str, patch_size: int) -> None:
    """The network is the same for patches of 4×4 pixels and one channel, of 2×2 and four channels, or of one pixel."""
    known = recorded(name)
    model = interop.load("openstl", known.state, patch_size=patch_size, horizon=known.kwargs["aft_seq_length"])
    assert model.pretrained_cfg["architecture"] == NAMES[name]
    assert model.in_chans == known.values["frames"].shape[-1] // patch_size**2
    x = unpatchify(known.values["frames"], patch_size)[:, : known.kwargs["pre_seq_length"]]
    assert_close(concat_outputs(model(x, return_aux=True)), unpatchify(known.values["y"], patch_size))


@EVERY
@torch.no_grad()
def test_forecasts(name: str) -> None:
    about = known(name)
    inputs, horizon = about.kwargs["pre"], about.kwargs["aft"]
    x, teacher = about.values["x.frames"].split([inputs, about.values["x.frames"].shape[1] - inputs], 1)
    model = load(name, horizon=horizon)
    assert model.pretrained_cfg["architecture"] == MODELS[name][0]
    assert getattr(model, "layer_norm", False) == (name in NORMED)
    output = model(x, return_aux=True)
    if name == "openstl_phydnet":  # its recording has both separately, and no frames of a teacher
        assert_agree_in_range(concat_outputs(output)[:, :inputs], about.values["y.warm"])
        assert_agree_in_range(output.forecast, about.values["y.pred"])
        return
    assert_agree_in_range(concat_outputs(output), about.values["y.pred"])
    known_steps = torch.ones(len(x), inputs - 1, dtype=torch.bool)
    masks = {"y.pred_sampled": torch.cat([known_steps, about.values["x.sampled"].bool()], dim=1)}
    if "x.rsampled" in about.values:
        masks["y.pred_reverse"] = about.values["x.rsampled"].bool()
    for expected, mask in masks.items():
        assert not mask.all()
        output = model(x, teacher=teacher, mask=mask, return_aux=True)
        assert output.forecast.shape[1] == horizon
        assert_agree_in_range(concat_outputs(output), about.values[expected])


@pytest.mark.parametrize("name", ["openstl_e3dlstm_channels", "openstl_e3dlstm_stride", "openstl_prednet"])
@torch.no_grad()
def test_forecasts_of_two_channels(name: str) -> None:
    """Every convolution that reads frames has its channels in another order than OpenSTL's patches."""
    about = recorded(name)
    model = interop.load("auto", about.state, **about.kwargs).eval()
    assert_agree_in_range(model(about.values["x"]), about.values["y"])
    if name == "openstl_prednet":
        with pytest.raises(WeightsError, match=r"patch_size of 1, got 2"):
            interop.load("openstl", about.state, patch_size=2)


# ---- entries -------------------------------------------------------------------------------------------------------
@EVERY
def test_every_weight_is_loaded_but_for_unused_ones(name: str, caplog: pytest.LogCaptureFixture) -> None:
    about = known(name)
    with caplog.at_level("WARNING", "convrnn_zoo"):
        model = load(name)
    assert all(key in caplog.text for key in about.dead)
    assert bool(caplog.text) == bool(about.dead)
    forget = sum(v.numel() // 7 for k, v in about.state.items() if "conv_x.0.conv3d" in k)  # the f' of an E3D-LSTM
    if name not in NORMED:  # the f' of an E3D-LSTM is used by its norm
        assert sum(p.numel() for p in model.parameters()) == sum(v.numel() for v in weights(name).values()) - forget
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


@pytest.mark.parametrize(("name", "key"), slow_unless(NORMS[::6].__contains__, NORMS))
def test_a_wrong_norm_is_named(name: str, key: str) -> None:
    state = known(name).state
    channels, *size = state[key].shape
    with pytest.raises(WeightsError) as e:
        load(name, {k: v for k, v in state.items() if k != key})
    assert str(e.value).endswith(f"missing: {key}")  # and no other is doubted
    others = (torch.zeros(channels + 1, *size), torch.zeros(channels, *size[:-2], 5, 5))
    for value in (state[key].mT.contiguous(), *others):
        with pytest.raises(WeightsError) as e:
            load(name, {**state, key: value})
        assert str(e.value).endswith(f"of another shape: {key} {tuple(value.shape)} for {tuple(state[key].shape)}")
    with pytest.raises(WeightsError, match="of another shape: "):
        load(name, {**state, key: torch.zeros(channels)})


@pytest.mark.parametrize("name", NORMED)
def test_rejects_norms_after_only_some_convolutions(name: str) -> None:
    state = known(name).state
    lacking = {k: v for k, v in state.items() if not (NORM.fullmatch(k) and ".conv_x" in k)}
    with pytest.raises(WeightsError, match=r"missing: [a-z_]+\.0\.conv_x\.1\.weight, [a-z_]+\.0\.conv_x\.1\.bias, "):
        load(name, lacking)
    without = {k: v for k, v in state.items() if not NORM.fullmatch(k)}
    assert not load(name, without).layer_norm


@pytest.mark.parametrize("gates", [{"x": 4, "h": 4}, {"x": 7, "h": 4, "m": 3, "o": 1}])
def test_of_a_single_layer_a_missing_entry_is_named_and_no_other(gates: dict[str, int]) -> None:
    state = {
        f"cell_list.0.conv_{part}.0.weight": torch.randn(8 * n, {"x": 4, "o": 16}.get(part, 8), 5, 5)
        for part, n in gates.items()
    } | {"conv_last.weight": torch.randn(4, 8, 1, 1)}
    if "m" in gates:
        state |= {"cell_list.0.conv_last.weight": torch.randn(8, 16, 1, 1), "adapter.weight": torch.randn(8, 8, 1, 1)}
    assert interop.load("openstl", state, patch_size=2).layers[0].kernel_size == (5, 5)
    for key in sorted(set(state) - {"adapter.weight", "cell_list.0.conv_m.0.weight"}):  # these make it another model
        with pytest.raises(WeightsError) as e:
            interop.load("openstl", {k: v for k, v in state.items() if k != key}, patch_size=2)
        assert str(e.value).endswith(f"missing: {key}")


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_phydnets_cells_may_be_stored_once_under_either_name(prefix: str) -> None:
    state = known("openstl_phydnet").state
    once = {f"{prefix}{k}" if k.startswith(("phycell.", "convcell.")) else k: v for k, v in state.items()}
    expected = load("openstl_phydnet").state_dict()
    for source in ("openstl", "auto"):
        actual = interop.load(source, once, patch_size=4).state_dict()
        assert all(torch.equal(actual[key], value) for key, value in expected.items())


# ---- options -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PLAIN)
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


def test_rejects_invalid_options_and_states_of_a_convlstm() -> None:
    state = recorded("openstl_convlstm").state
    with pytest.raises(WeightsError, match=r"16 channels.*3×3"):
        interop.load("openstl", state, patch_size=3)
    with pytest.raises(ValueError, match="patch_size"):
        interop.load("openstl", state, patch_size=0)
    with pytest.raises(ValueError, match=r"stride.*E3D"):
        interop.load("openstl", state, patch_size=4, stride=2)
    even = {k: v[..., :4, :4] if v.shape[-1] == 5 else v for k, v in state.items()}
    with pytest.raises(WeightsError, match=r"kernel \(4, 4\)"):
        interop.load("openstl", even, patch_size=4)
    with pytest.raises(ValueError, match=r"openstl.*pytorch_convolutional_rnn"):
        interop.export(models.create_model("predrnn", hidden_channels=4, num_layers=1), "openstl")


@pytest.mark.parametrize("option", ["tau", "cell_mode", "model_mode"])
def test_a_mau_requires_what_its_weights_do_not_show(option: str) -> None:
    options = {k: v for k, v in MODELS["openstl_mau"][1].items() if k != option}
    with pytest.raises(WeightsError, match=option):
        interop.load("openstl", known("openstl_mau").state, **options)

"""OpenSTL's models: recorded forecasts, the order of values within a patch, and unused weights."""

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, interop, models
from tests.helpers.interop.recorded import assert_close, recorded

NAMES = {
    "openstl_convlstm": "convlstm_openstl_s",
    "openstl_predrnn": "predrnn",
    "openstl_predrnnv2": "predrnn_v2",
}


def unpatchify(patches: Tensor, patch_size: int) -> Tensor:
    """Reshapes patches ``(N, T, H/p, W/p, p·p·C)``, pixels before channels, to frames ``(N, T, C, H, W)``."""
    n, t, h, w, _ = patches.shape
    p = patch_size
    return patches.reshape(n, t, h, w, p, p, -1).permute(0, 1, 6, 2, 4, 3, 5).reshape(n, t, -1, h * p, w * p)


@pytest.mark.parametrize(
    ("name", "patch_size"),
    [(name, p) for name in NAMES for p in (1, 2, 4) if recorded(name).values["frames"].shape[-1] % p**2 == 0],
)
def test_forecasts(name: str, patch_size: int) -> None:
    """The network is the same for patches of 4×4 pixels and one channel, of 2×2 and four channels, or of one pixel."""
    known = recorded(name)
    model = interop.load("openstl", known.state, patch_size=patch_size, horizon=known.kwargs["aft_seq_length"])
    assert model.pretrained_cfg["architecture"] == NAMES[name]
    assert model.in_chans == known.values["frames"].shape[-1] // patch_size**2
    x = unpatchify(known.values["frames"], patch_size)[:, : known.kwargs["pre_seq_length"]]
    forecast, warmup, _ = model(x, return_aux=True)
    assert_close(torch.cat([warmup, forecast], 1), unpatchify(known.values["y"], patch_size))


def test_dead_weights_are_dropped_and_named(caplog: pytest.LogCaptureFixture) -> None:
    state = recorded("openstl_convlstm").state
    dead = [k for k in state if "conv_o" in k or (k.startswith("cell_list") and "conv_last" in k)]
    with caplog.at_level("WARNING", "convrnn_zoo"):
        model = interop.load("openstl", state, patch_size=4)
    assert dead
    assert all(key in caplog.text for key in dead)
    alive = sum(v.numel() for k, v in state.items() if k not in dead)
    assert sum(p.numel() for p in model.parameters()) == alive
    without = interop.load("openstl", {k: v for k, v in state.items() if k not in dead}, patch_size=4)
    assert all(torch.equal(a, b) for a, b in zip(without.parameters(), model.parameters(), strict=True))


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


def test_rejects_invalid_options_and_states() -> None:
    state = recorded("openstl_convlstm").state
    with pytest.raises(WeightsError, match="patch_size"):
        interop.load("openstl", state)
    with pytest.raises(WeightsError, match=r"16 channels.*3×3"):
        interop.load("openstl", state, patch_size=3)
    with pytest.raises(ValueError, match="patch_size"):
        interop.load("openstl", state, patch_size=0)
    with pytest.raises(ValueError, match=r"stride.*E3D"):
        interop.load("openstl", state, patch_size=4, stride=2)
    with pytest.raises(
        WeightsError, match=r"missing: cell_list\.0\.conv_x\.1\.bias, cell_list\.0\.conv_h\.1\.weight, "
    ):
        interop.load("openstl", {**state, "cell_list.0.conv_x.1.weight": torch.zeros(24, 4, 4)}, patch_size=4)
    even = {k: v[..., :4, :4] if v.shape[-1] == 5 else v for k, v in state.items()}
    with pytest.raises(WeightsError, match=r"kernel \(4, 4\)"):
        interop.load("openstl", even, patch_size=4)
    with pytest.raises(ValueError, match=r"openstl.*pytorch_convolutional_rnn"):
        interop.export(models.create_model("predrnn", hidden_channels=4, num_layers=1), "openstl")

"""The recurrent baselines of U-TAE: their counts, the original's numbers, and dates that are missing."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import convrnn_zoo
from convrnn_zoo.models import utae
from convrnn_zoo.pretrained.registry import entry_points

NAMES = [n for n in convrnn_zoo.list_models() if entry_points()[n].__module__ == utae.__name__]
REFERENCE = Path(__file__).parent / "reference"
SMALL = {"in_chans": 3, "num_classes": 4, "hidden_channels": 4}


def small(name, **kwargs):
    torch.manual_seed(0)
    if "u" in name.removeprefix("utae_").replace("gru", ""):
        kwargs = {"widths": (4, 8), "up_widths": (4, 8), **kwargs}
    return convrnn_zoo.create_model(name, **{**SMALL, **kwargs}).eval()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("utae_convlstm", 1_008_660),
        ("utae_convgru", 956_360),
        ("utae_uconvlstm", 1_520_540),
        ("utae_buconvlstm", 1_414_828),
    ],
)
def test_parameter_counts_match_the_papers(name, count):
    assert sum(p.numel() for p in convrnn_zoo.create_model(name, device="meta").parameters()) == count


# ---- the original's numbers ------------------------------------------------------------------------------------
def read(name):
    with safe_open(REFERENCE / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  safe_open is no dict
        return tensors, json.loads(file.metadata()["kwargs"])


def recurrent(weight, bias, in_channels, suffix=""):
    """A joined convolution of [x, h] with gates i, f, o, g as an LSTM's of one bias with gates i, f, g, o."""
    i, f, o, g = (torch.cat([weight, bias.reshape(-1, 1, 1, 1).expand(-1, 1, 3, 3)], dim=1)).chunk(4)
    pair = torch.cat([i, f, g, o])
    return {
        f"rnn.weight_ih_l0{suffix}": pair[:, :in_channels],
        f"rnn.weight_hh_l0{suffix}": pair[:, in_channels:-1],
        f"rnn.bias_ih_l0{suffix}": pair[:, -1, 0, 0],
    }


def check(model, state, tensors, logits, lengths=None):
    model.load_state_dict({k: v.contiguous() for k, v in state.items()}, strict=True)
    out = model.eval()(tensors["x.images"][: len(logits)], lengths=lengths)
    torch.testing.assert_close(out, logits, atol=1e-5 * logits.std().item(), rtol=1e-5)


def test_convlstm_matches_recorded_outputs():
    tensors, kwargs = read("utae_convlstm")
    head = {f"head.{k}": tensors[f"w.classification_layer.{k}"] for k in ("weight", "bias")}
    joined = [tensors[f"w.convlstm_encoder.cell_list.0.conv.{k}"] for k in ("weight", "bias")]
    model = convrnn_zoo.create_model("utae_convlstm", in_chans=4, num_classes=5, hidden_channels=kwargs["hidden_dim"])
    check(model, {**head, **recurrent(*joined, 4)}, tensors, tensors["y.logits"])


def test_convgru_matches_recorded_outputs():
    tensors, kwargs = read("utae_convgru")
    head = {f"head.{k}": tensors[f"w.classification_layer.{k}"] for k in ("weight", "bias")}
    cell = {k.rpartition("cell_list.0.")[2]: v for k, v in tensors.items() if "cell_list" in k}
    z, r = cell["in_conv.weight"].chunk(2)
    bz, br = cell["in_conv.bias"].chunk(2)
    weight = torch.cat([r, -z, cell["out_conv.weight"]])  # its z weights the new state, ours the old one
    state = {
        **head,
        "rnn.weight_ih_l0": weight[:, :4],
        "rnn.weight_hh_l0": weight[:, 4:],
        "rnn.bias_ih_l0": torch.cat([br, -bz, cell["out_conv.bias"]]),
    }
    model = convrnn_zoo.create_model("utae_convgru", in_chans=4, num_classes=5, hidden_channels=kwargs["hidden_dim"])
    check(model, state, tensors, tensors["y.logits"])


def renamed(key, depth):
    """The name here of a parameter of the original's U-Net."""
    if m := re.fullmatch(r"in_conv\.conv\.conv\.(\d)\.(.*)", key):
        return f"stem.{int(m[1]) // 3}.{int(m[1]) % 3}.{m[2]}"
    if m := re.fullmatch(r"down_blocks\.(\d)\.down\.conv\.(.*)", key):
        return f"downs.{m[1]}.0.{m[2]}"
    if m := re.fullmatch(r"down_blocks\.(\d)\.conv([12])\.conv\.(.*)", key):
        return f"downs.{m[1]}.1.{('first', 'second')[int(m[2]) - 1]}.{m[3]}"
    if m := re.fullmatch(r"up_blocks\.(\d)\.(up|skip_conv)\.(.*)", key):
        return f"{'ups' if m[2] == 'up' else 'skips'}.{depth - 1 - int(m[1])}.{m[3]}"
    if m := re.fullmatch(r"up_blocks\.(\d)\.conv([12])\.conv\.(.*)", key):
        return f"joins.{depth - 1 - int(m[1])}.{('first', 'second')[int(m[2]) - 1]}.{m[3]}"
    if m := re.fullmatch(r"out_conv\.conv\.conv\.(\d)\.(.*)", key):
        return f"{('neck', 'head')[int(m[1]) // 3]}.{int(m[1]) % 3}.{m[2]}"
    return key.replace("out_convlstm", "out")


@pytest.mark.parametrize("name", ["utae_uconvlstm", "utae_buconvlstm"])
def test_unet_matches_recorded_outputs_without_missing_dates(name):
    tensors, kwargs = read(name)
    widths, weights = kwargs["encoder_widths"], {k[2:]: v for k, v in tensors.items() if k.startswith("w.")}
    state = {renamed(k, len(widths) - 1): v for k, v in weights.items() if not k.startswith("temporal")}
    ends = {"": "forward.", "_reverse": "backward."} if kwargs["temporal"] == "blstm" else {"": ""}
    for suffix, end in ends.items():
        prefix = f"temporal_encoder.{f'convlstm_{end}' if end else ''}cell_list.0.conv"
        state |= recurrent(weights[f"{prefix}.weight"], weights[f"{prefix}.bias"], widths[-1], suffix)
    model = convrnn_zoo.create_model(
        name,
        in_chans=3,
        num_classes=5,
        widths=widths,
        up_widths=kwargs["decoder_widths"],
        hidden_channels=kwargs["hidden_dim"],
    )
    check(model, state, tensors, tensors["y.logits_unpadded"])
    # The original reads the zeros of missing dates on; here they change nothing.
    series = tensors["x.images"][1:, :3]
    torch.testing.assert_close(model(tensors["x.images"], lengths=[5, 3])[1:], model(series), atol=1e-5, rtol=1e-5)


# ---- dates -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_missing_dates_change_nothing(name):
    model = small(name)
    x = torch.rand(3, 5, 3, 8, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0]]).bool()
    x[~mask] = torch.nan  # an image that were read would show
    alone = torch.cat([model(series[dates][None]) for series, dates in zip(x, mask, strict=True)])
    torch.testing.assert_close(model(x, mask=mask), alone, atol=1e-5, rtol=1e-5)
    lengths = torch.tensor([5, 2, 4])
    alone = torch.cat([model(torch.nan_to_num(s[:n])[None]) for s, n in zip(x, lengths, strict=True)])
    torch.testing.assert_close(model(torch.nan_to_num(x), lengths=lengths), alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(x[:1, 0]), model(x[:1, :1]))
    assert model(x[:0]).shape == (0, 4, 8, 8)


@pytest.mark.parametrize(
    ("x", "kwargs", "words"),
    [
        (torch.rand(2, 3, 3, 8, 8), {"mask": torch.ones(2, 4).bool()}, r"mask.*\(2, 3\).*\(2, 4\)"),
        (torch.rand(2, 3, 3, 8, 8), {"mask": torch.ones(2, 3)}, "mask.*float32"),
        (
            torch.rand(2, 3, 3, 8, 8),
            {"mask": torch.ones(2, 3, 8, 8).bool()},
            r"mask.*\(2, 3, 8, 8\)",
        ),
        (torch.rand(2, 3, 3, 8, 8), {"mask": [[True] * 3] * 2}, "mask.*list"),
        (torch.rand(2, 0, 3, 8, 8), {}, r"frame.*\(2, 0, 3, 8, 8\)"),
        (torch.rand(2, 3, 3, 8, 8), {"lengths": [4, 3]}, r"lengths.*\b3\b.*\[4, 3\]"),
        (torch.rand(2, 3, 3, 0, 8), {}, r"\bx .*\(2, 3, 3, 0, 8\)"),
        (torch.rand(2, 3, 3, 8, 8), {"mask": torch.zeros(2, 3).bool()}, "series 0.*mask"),
        (torch.rand(2, 3, 3, 8, 8), {"lengths": [3, 0]}, r"lengths.*\b3\b.*\[3, 0\]"),
        (torch.rand(2, 3, 3, 8, 8), {"lengths": [3, 3], "mask": torch.ones(2, 3).bool()}, "lengths and mask"),
        (torch.rand(2, 3, 3, 8, 7), {}, r"\b2\b.*\(8, 7\)"),
        (torch.rand(2, 3, 2, 8, 8), {}, r"\b3 .*channels.*axis 2 of x.*\b2\b"),
        (torch.rand(3, 8, 8), {}, r"\bx .*\(3, 8, 8\)"),
    ],
)
def test_rejects_invalid_input(x, kwargs, words):
    with pytest.raises(ValueError, match=words):
        small("utae_uconvlstm")(x, **kwargs)

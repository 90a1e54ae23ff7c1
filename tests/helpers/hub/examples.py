"""Small models of every architecture with sizes that are not its defaults, and what makes two of them the same."""

import functools
from pathlib import Path

import torch

import convrnn_zoo
from convrnn_zoo.pretrained.registry import SMALL
from tests.helpers.registry import on_meta, without_known_inputs


def is_core(name: str) -> bool:
    """Returns whether a name is of the core family."""
    return isinstance(on_meta(name), convrnn_zoo.ConvRNNModel)


def classifies(name: str) -> bool:
    """Returns whether a model classifies sequences or pixels; the others are forecasters."""
    return not isinstance(on_meta(name), convrnn_zoo.Forecaster)


def sizes(name: str) -> dict:
    """Arguments that no default would give back."""
    if not is_core(name) and classifies(name):
        return {"in_chans": 2, "num_classes": 3, **SMALL[name]}
    if not is_core(name):
        return {"in_chans": 2, "horizon": 3, **SMALL[name], **without_known_inputs(name)}
    layers = 4 if name == "recurrent_stack" else int(name[-len("1layer")])
    depth = {"num_layers": 4, "bidirectional": True} if name == "recurrent_stack" else {}
    hidden = {} if name.startswith("min") else {"hidden_kernel_size": 3}  # those have no convolution of the state
    return {
        "in_chans": 2,
        "num_classes": 3,
        "drop_rate": 0.25,
        "global_pool": "max",
        "hidden_channels": [4, 6, 2, 5][:layers],
        "kernel_size": 1,
        "bias": False,
        **hidden,
        **depth,
    }


def labels(name: str) -> dict:
    """Names for the classes, where there are any."""
    return {"pretrained_cfg_overlay": {"label_names": ("ah", "ee", "oh"), "num_classes": 3}} if classifies(name) else {}


def changed(name: str) -> dict:
    """An argument for another model of the same architecture."""
    return {"num_classes": 5} if classifies(name) else {"horizon": 7}


@functools.cache
def weight(name: str) -> int:
    """Parameters at these sizes."""
    return sum(p.numel() for p in convrnn_zoo.create_model(name, **sizes(name), device="meta").parameters())


def representatives() -> list[str]:
    """An architecture for every kind, dimension and number of directions, and the lightest of every other network."""

    def family(name: str) -> str:
        return name.rsplit("_", 1)[0] if is_core(name) else type(on_meta(name)).__name__

    heaviest_first = sorted(convrnn_zoo.list_models(), key=lambda name: (-weight(name), name))
    return sorted({family(name): name for name in heaviest_first}.values())


def make(name: str = "convlstm1d_bi_1layer", **kwargs) -> torch.nn.Module:
    torch.manual_seed(1)
    return convrnn_zoo.create_model(name, **{**sizes(name), **kwargs})


def files(model: torch.nn.Module, directory: Path) -> dict[str, bytes]:
    """A saved model as the files of a repository."""
    convrnn_zoo.save_pretrained(model, directory)
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def assert_same(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Bit for bit the same weights, built with the same arguments, of the same labels."""
    mine, theirs = model.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        assert value.dtype == theirs[key].dtype, key
        assert torch.equal(value, theirs[key]), key
    assert list(other.pretrained_cfg.get("label_names") or ()) == list(model.pretrained_cfg.get("label_names") or ())
    assert other.pretrained_cfg["architecture"] == model.pretrained_cfg["architecture"]
    assert repr(model) == repr(other)
    assert getattr(model, "global_pool", None) == getattr(other, "global_pool", None)
    assert getattr(model, "horizon", None) == getattr(other, "horizon", None)
    if isinstance(model, convrnn_zoo.ConvRNNModel):
        x = torch.randn(2, 3, model.in_chans, *[5] * model.rnn.ndim, dtype=next(model.parameters()).dtype)
        with torch.no_grad():
            assert torch.equal(model.eval()(x), other.eval()(x))

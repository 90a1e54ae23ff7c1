"""Small models of every architecture with sizes that are not its defaults, and what makes two of them the same."""

from pathlib import Path

import torch

import convrnn_zoo
from convrnn_zoo.models._registry import entry_points


def sizes(name: str) -> dict:
    """Arguments that no default would give back."""
    args = {"in_chans": 2, "num_classes": 3, "drop_rate": 0.25, "global_pool": "max"}
    if entry_points()[name].__module__.endswith("convrnn"):
        layers = int(name[-len("1layer")])
        args |= {"hidden_channels": [4, 6, 2][:layers], "kernel_size": 1, "hidden_kernel_size": 3, "bias": False}
    return args


def representatives() -> list[str]:
    """An architecture for every kind, dimension and number of directions: the deepest of those that differ by depth."""
    return sorted({name.rsplit("_", 1)[0]: name for name in convrnn_zoo.list_models()}.values())


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
    assert model.global_pool == other.global_pool
    if hasattr(model, "rnn"):
        x = torch.randn(2, 3, model.in_chans, *[5] * model.rnn.ndim, dtype=next(model.parameters()).dtype)
        with torch.no_grad():
            assert torch.equal(model.eval()(x), other.eval()(x))

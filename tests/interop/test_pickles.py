"""Checkpoints of trainers, which contain objects of classes that are not installed, and pickles that run code."""

import collections
import datetime
import enum
import functools
import itertools
import os
import pathlib
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.torch_version import TorchVersion

from convrnn_zoo import WeightsError, interop
from convrnn_zoo.interop import _checkpoint, _unpickle
from tests.helpers.registry import slow_unless

STATE = {"cell_list.0.conv.weight": torch.randn(8, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(8)}
needs_pickles = pytest.mark.skipif(TorchVersion(torch.__version__) < (2, 10), reason="CVE-2026-24747")


# ---- what trainers store -------------------------------------------------------------------------------------------
class AttributeDict(dict[str, Any]):
    """As Lightning's: hyperparameters whose keys are attributes."""

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(key) from None


class NamedDict(dict[str, Any]):
    """A dict with an attribute."""

    def __init__(self, name: str) -> None:
        super().__init__(a=1)
        self.name = name


class ListOfFiles(list[Any]):
    pass


class ContainerConfig:
    """As omegaconf's containers: nodes that know their parents, with their own `__getstate__`."""

    def __init__(self, content: Any, parent: Any = None) -> None:
        self.__dict__["_parent"] = parent
        values = content.items() if isinstance(content, dict) else []
        self.__dict__["_content"] = {k: ContainerConfig(v, self) for k, v in values} or content

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Callback:
    """A callback with slots and a path."""

    __slots__ = ("best", "directory")

    def __init__(self) -> None:
        self.best, self.directory = np.float64(0.5), pathlib.PurePosixPath("runs/1")


class Stage(enum.Enum):
    FIT = "fit"


class Flags(enum.Flag):
    A, B = 1, 2


class Criterion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(2, 2)


Sizes = collections.namedtuple("Sizes", "height width")
EXTRAS: dict[str, Callable[[], Any]] = {
    "callbacks": lambda: {"ModelCheckpoint": Callback(), Callback: {"patience": 3}},
    "omegaconf": lambda: ContainerConfig({"model": {"width": 8}, "lr": 1e-3}),
    "numpy scalars": lambda: [np.float32(0.1), np.int64(3), np.bool_(True), np.zeros(3), np.dtype("f4")],
    "enums": lambda: [Stage.FIT, Flags.A | Flags.B, {Stage.FIT: 1}],
    "a dict subclass": lambda: AttributeDict(width=8, nested=AttributeDict(lr=0.1)),
    "a dict with attributes": lambda: [NamedDict("x"), NamedDict("y")],
    "a list subclass": lambda: ListOfFiles(["a", "b"]),
    "an empty list subclass": ListOfFiles,
    "collections": lambda: [collections.defaultdict(list, a=[1]), collections.deque([1]), collections.Counter("aab")],
    "a namedtuple": lambda: Sizes(3, 4),
    "a partial": lambda: functools.partial(Sizes, 3),
    "a module": Criterion,
    "dates": lambda: [datetime.datetime(2020, 1, 1), datetime.timedelta(1)],
    "an optimizer": lambda: torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict(),
    "all": lambda: {name: make() for name, make in EXTRAS.items() if name != "all"},
}
CLASSES = (AttributeDict, NamedDict, ListOfFiles, ContainerConfig, Callback, Stage, Flags, Criterion, Sizes)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes above are those of a package that only their owner has."""
    module: Any = types.ModuleType("owners_package")
    for cls in CLASSES:
        setattr(module, cls.__name__, cls)
        monkeypatch.setattr(cls, "__module__", "owners_package")
    monkeypatch.setitem(sys.modules, "owners_package", module)


@needs_pickles
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.sampled("extra")
def test_a_trainers_checkpoint_is_read_without_its_classes(
    extra: str, legacy: bool, package: None, tmp_path: Path
) -> None:
    if legacy and extra in ("a module", "all"):
        pytest.skip("torch rejects modules in files of its old format")
    content = {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in STATE.items()}, "extra": EXTRAS[extra]()}
    torch.save(content, tmp_path / "model.ckpt", _use_new_zipfile_serialization=not legacy)
    actual = interop.load("ndrplz", tmp_path / "model.ckpt").state_dict()
    expected = interop.load("ndrplz", STATE).state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], value) for key, value in expected.items())


@needs_pickles
def test_weights_that_are_objects_of_unknown_classes_are_an_error(package: None, tmp_path: Path) -> None:
    torch.save({**STATE, "cell_list.1.conv.weight": Callback()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"cell_list\.1\.conv\.weight.*Callback"):
        interop.load("ndrplz", tmp_path / "x.pth")
    torch.save(Criterion(), tmp_path / "y.pth")
    with pytest.raises(WeightsError, match=r"y\.pth contains a Criterion"):
        interop.load("ndrplz", tmp_path / "y.pth")


@needs_pickles
def test_views_and_tied_weights_have_their_values(tmp_path: Path) -> None:
    weight = STATE["cell_list.0.conv.weight"]
    state = {**STATE, "cell_list.0.conv.weight": weight.to(memory_format=torch.channels_last)}
    torch.save({"model": state, "ema": state}, tmp_path / "x.pth")
    loaded = interop.load("ndrplz", tmp_path / "x.pth").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in interop.load("ndrplz", STATE).state_dict().items())


# ---- what attackers store ------------------------------------------------------------------------------------------
def write_marker(path: str) -> None:
    Path(path).touch()


class Call:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


ATTACKS: dict[str, Callable[[str], Any]] = {
    "os.system": lambda path: Call(os.system, f"touch {path}"),
    "os.mkdir": lambda path: Call(os.mkdir, path),
    "eval": lambda path: Call(eval, f"open({path!r}, 'w')"),
    "exec": lambda path: Call(exec, f"open({path!r}, 'w')"),
    "open": lambda path: Call(open, path, "w"),
    "a function that the caller allows": lambda path: Call(write_marker, path),
    "a method": lambda path: Call(pathlib.Path.touch, Call(pathlib.Path, path)),
    "a class": lambda path: Call(__import__("subprocess").Popen, ["touch", path]),
}
REJECTED = ("os.system", "os.mkdir", "eval", "exec", "open", "a method")


@needs_pickles
@pytest.mark.parametrize(
    ("attack", "legacy"),  # each starts a process
    slow_unless(("os.system", False).__eq__, itertools.product(ATTACKS, (False, True))),
)
def test_a_pickle_calls_no_function(attack: str, legacy: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content = {"state_dict": STATE, "extra": ATTACKS[attack](str(marker))}
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=not legacy)
    with torch.serialization.safe_globals([write_marker, eval, exec, open]):
        if attack in REJECTED:
            with pytest.raises(WeightsError, match=r"x\.ckpt"):
                interop.load("ndrplz", tmp_path / "x.ckpt")
        else:
            interop.load("ndrplz", tmp_path / "x.ckpt")
    assert not marker.exists()


def test_no_pickle_is_read_by_a_torch_that_does_not_check_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, tmp_path / "x.pth")
    save_file(STATE, tmp_path / "x.safetensors")
    monkeypatch.setattr(_checkpoint, "TORCH_VERSION", TorchVersion("2.9.1"))
    with pytest.raises(WeightsError, match=r"CVE-2026-24747.*2\.10"):
        interop.load("ndrplz", tmp_path / "x.pth")
    interop.load("ndrplz", tmp_path / "x.safetensors")


@pytest.mark.slow
@needs_pickles
def test_errors_advise_nobody_to_run_the_file(tmp_path: Path) -> None:
    for attack, reason in (("eval", r"builtins\.eval"), ("os.system", "system"), ("a method", "getattr")):
        torch.save({"a": ATTACKS[attack](str(tmp_path / "marker"))}, tmp_path / "x.pth")
        with pytest.raises(WeightsError, match=reason) as caught:
            interop.load("ndrplz", tmp_path / "x.pth")
        assert "weights_only" not in str(caught.value)
        assert "add_safe_globals" not in str(caught.value)


@needs_pickles
def test_a_full_disk_is_no_damaged_file(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    with pytest.raises(_unpickle.ContentError, match=re.escape(f"free disk space in {tmp_path / 'missing'}")):
        _unpickle.main(tmp_path / "a.pth", tmp_path / "missing" / "b" / "tensors.safetensors")

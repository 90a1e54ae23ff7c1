"""Functions of dependencies with known vulnerabilities are not called, or only in versions that fix them."""

import ast
import functools
import pickle
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

import convrnn_zoo

ROOT = Path(__file__).parent.parent
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
"""Modules whose files can run code."""
CONCERNED = {"load_class_map", "extract_tarinfos", "ModelEma", "create_dataset", "create_reader", "ImageDataset"}
"""timm's functions of GHSA-pqww-w348-m542, and those that call them."""


@functools.cache
def trees() -> dict[str, ast.AST]:
    """Returns the syntax tree of every file of the package."""
    files = sorted((ROOT / "convrnn_zoo").rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Yields the calls of a dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


def imported(tree: ast.AST) -> Iterator[str]:
    """Yields the dotted names of absolute imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_torch_load_reads_tensors_only_and_where_the_policy_says() -> None:
    loads = [(file, call) for file, tree in trees().items() for call in calls(tree, "torch.load")]
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert {file for file, _ in loads} == {file for file in trees() if f"`{file}`" in policy}
    for file, call in loads:
        (weights_only,) = (k.value for k in call.keywords if k.arg == "weights_only")
        assert isinstance(weights_only, ast.Constant), file
        assert weights_only.value is True, file


def test_torch_is_new_enough_for_weights_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (version,) = (re.fullmatch(r"torch>=([\d.]+)", r) for r in project["dependencies"] if r.startswith("torch>"))
    assert version is not None
    assert tuple(map(int, version[1].split("."))) >= (2, 6)


def test_no_file_imports_what_unpickles() -> None:
    for file, tree in trees().items():
        for name in imported(tree):
            assert name.partition(".")[0] not in RUNS_CODE, file
            assert not name.startswith(("timm.data", "timm.utils")) or name == "timm.utils.ModelEmaV3", (file, name)
            assert name.rpartition(".")[2] not in CONCERNED, (file, name)
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & CONCERNED, file


def test_no_weights_of_timm_use_the_loader_of_naflexvit() -> None:
    """timm calls ``load_pretrained`` of a model only if the cfg of its weights requests it."""
    names = timm.list_models("naflex*", pretrained=True)
    assert names
    assert not any(timm.get_pretrained_cfg(name).custom_load for name in names)


def test_models_load_without_a_pickle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was read")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, fail)
    model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True)
    convrnn_zoo.save_pretrained(model, tmp_path)
    again = convrnn_zoo.from_pretrained(tmp_path)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    convrnn_zoo.create_model("convgru2d_1layer", device="meta")

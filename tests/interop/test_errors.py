"""Invalid foreign checkpoints: the error lists all problems and names the likely source."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convrnn_zoo import (
    HubAccessError,
    WeightsError,
    create_model,
    from_pretrained,
    interop,
    load_weights,
    save_pretrained,
)
from convrnn_zoo.recipes.starter import starting_recipe
from tests.helpers.command_line import run
from tests.helpers.interop.examples import STATES
from tests.helpers.registry import slow_unless

SOURCES = sorted(STATES)
EVERY = pytest.mark.parametrize("source", slow_unless("rvm".__ne__, SOURCES))  # whose encoder is large
UNUSED = re.compile(r"sampler\.g\d\.conv_1x1\.")  # of DGMR's original code, which are dropped


def kinds(state: dict[str, Tensor]) -> list[str]:
    """Returns its keys; of many keys that differ only in a number, only the first, and none that are never used."""
    if len(state) < 60:
        return list(state)
    return list({re.sub(r"\d+", "#", key): key for key in reversed(state) if not UNUSED.match(key)}.values())


ALL = [(source, key) for source in SOURCES for key in kinds(STATES[source].state)]
ENTRIES = slow_unless(lambda entry: entry in ALL[::4] and entry[0] != "rvm", ALL)


def load(source: str, state: Any) -> nn.Module:
    return interop.load(source, state, **STATES[source].options)


def test_every_source_is_among_the_examples() -> None:
    missing = set(STATES) ^ set(interop.SOURCES)
    assert not missing, f"add {missing} to STATES: docs/project/adding-weights.md, Add a converter, step 2"


@pytest.mark.parametrize("source", SOURCES)
def test_checks_are_those_of_options_and_reject_other_types(source: str) -> None:
    known = interop.SOURCES[source]
    assert known.checks.keys() <= known.options.keys()
    for option in known.options.keys() - {"keras_version"}:  # which is converted to text
        with pytest.raises(interop.OptionError, match=option):
            interop.load(source, STATES[source].state, **{option: {3}})


@pytest.mark.parametrize(("source", "key"), ENTRIES)
def test_a_missing_entry_is_named_and_no_other(source: str, key: str) -> None:
    state = {k: v for k, v in STATES[source].state.items() if k != key}
    with pytest.raises(WeightsError) as e:
        load(source, state)
    assert f"missing: {key}" in str(e.value)
    assert "unexpected" not in str(e.value)
    assert str(e.value).count("(") == 0  # no shape is doubted


@pytest.mark.sampled("key")
@pytest.mark.parametrize(("source", "key"), ENTRIES)
def test_an_entry_of_another_shape_is_named(source: str, key: str) -> None:
    if (source, key) == ("greenearthnet", "dec.readout.weight"):
        pytest.skip("its width is the number of channels of a frame; the other input channels are known maps")
    state = STATES[source].state
    with pytest.raises(WeightsError) as e:
        load(source, {**state, key: state[key][:-1]})
    message = str(e.value)
    assert "of another shape: " in message
    assert f"{key} {tuple(state[key][:-1].shape)} for (" in message or "joined" in message or "kernel" in message


def test_rows_that_no_gates_share_are_listed() -> None:
    state = {"cell_list.0.conv.weight": torch.zeros(7, 3, 3, 3), "cell_list.0.conv.bias": torch.zeros(7)}
    with pytest.raises(WeightsError, match=r"cell_list\.0\.conv\.weight \(7, 3, 3, 3\)"):
        load("ndrplz", state)
    state = {"weight_ih_l0": torch.zeros(4, 2), "weight_hh_l0": torch.zeros(4, 1)}
    state |= {key.replace("l0", "l1"): torch.zeros(7, 1) for key in state}
    with pytest.raises(WeightsError, match=r"weight_ih_l1 \(7, 1\).*weight_hh_l1 \(7, 1\)"):
        load("torch", state)


@EVERY
def test_integers_nan_and_further_entries_are_not_weights(source: str) -> None:
    state = STATES[source].state
    key = next(iter(state))
    for dtype in (torch.int64, torch.float8_e5m2):
        with pytest.raises(WeightsError, match=f"{key} {dtype}"):
            load(source, {**state, key: state[key].to(dtype)})
    with pytest.raises(WeightsError, match="NaN"):
        load(source, {**state, key: state[key] * torch.nan})
    with pytest.raises(WeightsError, match="float64"):
        load(source, {**state, key: state[key].double()})
    with pytest.raises(
        WeightsError, match=r"unexpected: other\.weight|other\.weight, of layers that are not converted"
    ):
        load(source, {**state, "other.weight": torch.zeros(2)})


@pytest.mark.parametrize("source", [*SOURCES, "auto"])
def test_a_checkpoint_of_no_source_is_listed(source: str) -> None:
    state = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()
    with pytest.raises(WeightsError, match=r"0\.weight, 0\.bias, 1\.weight") as e:
        interop.load(source, state, **(STATES[source].options if source in STATES else {}))
    assert "looks like" not in str(e.value)


@EVERY
def test_auto_recognises_the_source(source: str, caplog: pytest.LogCaptureFixture) -> None:
    state, options = STATES[source]
    result = interop.recognise(state)
    assert result.source.name == source
    assert next(k for k in state if k in result.reason)
    with caplog.at_level("INFO", "convrnn_zoo"):
        assert type(interop.load("auto", state, **options)) is type(load(source, state))
    assert f"read as {source}: {result.reason}" in caplog.text


@pytest.mark.parametrize("source", slow_unless("rvm".__ne__, sorted(set(SOURCES) - {"keras"})))
def test_a_layer_inside_a_larger_model_is_found_by_its_prefix(source: str) -> None:
    state, options = STATES[source]
    larger = {f"encoder.rnn.{k}": v for k, v in state.items()} | {"head.weight": torch.zeros(2, 2)}
    for name in (source, "auto"):
        with pytest.raises(WeightsError, match=rf"{source}.*prefix='encoder\.rnn\.'"):
            interop.load(name, larger, **options)
        same = interop.load(name, larger, prefix="encoder.rnn.", **options)
        assert same.state_dict().keys() == load(source, state).state_dict().keys()
    with pytest.raises(WeightsError, match=r"prefix='decoder\.'"):
        interop.load(source, larger, prefix="decoder.", **options)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 0.1}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
        lambda s: {"epoch": 3, "model": {"args": "x", "state_dict": s}, "optimizer": {"lr": 0.1}},
        lambda s: {"state_dict": {"model": s}},
    ],
)
def test_removes_wrappers_of_training_scripts(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    state = STATES["ndrplz"].state
    torch.save(wrap(state), tmp_path / "checkpoint.pth")
    for checkpoint in (tmp_path / "checkpoint.pth", wrap(state)):
        assert interop.export(interop.load("ndrplz", checkpoint), "ndrplz").keys() == state.keys()


def test_a_dict_that_contains_itself_ends_in_an_error() -> None:
    circle: dict[str, Any] = {}
    circle["model"] = circle
    with pytest.raises(WeightsError, match=r"model"):
        interop.load("ndrplz", circle)


# ---- entries without values, aliases, and files that are none --------------------------------------------------
def quantized() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.empty(8, device="meta"), "meta tensor"),
        (quantized, r"quantized tensor.*dequantize\(\)"),
        (lambda: torch.ones(8).to_sparse(), "sparse"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_tensors_without_dense_values_are_named(make: Callable[[], Tensor], words: str, tmp_path: Path) -> None:
    state = {**STATES["ndrplz"].state, "cell_list.0.conv.bias": make()}
    torch.save(state, tmp_path / "x.pth")
    for checkpoint in (state, tmp_path / "x.pth"):
        with pytest.raises(WeightsError, match=rf"cell_list\.0\.conv\.bias.*{words}"):
            interop.load("ndrplz", checkpoint)


def test_a_tied_alias_is_named_with_its_other_key(tmp_path: Path) -> None:
    state = STATES["ndrplz"].state
    state = {**state, "alias": state["cell_list.0.conv.weight"]}
    torch.save(state, tmp_path / "x.pth")
    for checkpoint in (state, tmp_path / "x.pth"):
        with pytest.raises(WeightsError, match=r"alias \(.*cell_list\.0\.conv\.weight"):
            interop.load("ndrplz", checkpoint)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2448108\n"
STAND_INS = [(POINTER, r"Git LFS.*git lfs pull"), (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page")]


@pytest.mark.parametrize(("content", "words"), STAND_INS)
@pytest.mark.parametrize("end", [".pth", ".ckpt", ".safetensors", ".h5", ".keras"])
def test_files_that_stand_in_for_weights_are_recognised(content: bytes, words: str, end: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{end}"
    file.write_bytes(content)
    for source in ("ndrplz", "auto"):
        with pytest.raises(WeightsError, match=rf"{re.escape(file.name)}.*{words}"):
            interop.load(source, file)
    assert re.search(words, run("convert", "auto", file, "-o", tmp_path / "out", code=1))


@pytest.mark.parametrize(("content", "words"), STAND_INS)
def test_models_say_what_stands_in_for_their_weights(content: bytes, words: str, tmp_path: Path) -> None:
    model = create_model("convgru1d_1layer", hidden_channels=2)
    file = save_pretrained(model, tmp_path / "m") / "model.safetensors"
    file.write_bytes(content)
    loads: list[Callable[[], Any]] = [
        lambda: load_weights(model, file),
        lambda: from_pretrained(tmp_path / "m"),
        lambda: create_model("convgru1d_1layer", hidden_channels=2, checkpoint_path=file),
        lambda: starting_recipe("convgru1d_1layer", init_from=str(tmp_path / "m")),
    ]
    for load in loads:
        with pytest.raises(WeightsError, match=words):
            load()


def test_weights_without_values_are_not_loaded_in_silence() -> None:
    state = create_model("convgru1d_1layer", hidden_channels=2, device="meta").state_dict()
    with pytest.raises(WeightsError, match=r"weight_ih_l0.*values"):
        create_model(
            "convgru1d_1layer", pretrained=True, hidden_channels=2, pretrained_cfg_overlay={"state_dict": state}
        )


# ---- files -----------------------------------------------------------------------------------------------------
class Rogue:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content))


FILES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "empty": ("x.pth", lambda p: p.touch(), ""),
    "no tensors": ("x.pth", lambda p: torch.save({}, p), ""),
    "a module": ("x.pt", lambda p: torch.save(nn.Linear(1, 1), p), r".*a Linear"),
    "code": ("x.pth", lambda p: torch.save({"w": Rogue(p.parent / "ran")}, p), ""),
    "an old pickle": ("x.pt", lambda p: write_pickle(p, {"w": Rogue(p.parent / "ran")}), ""),
    "a list": ("x.pth", lambda p: torch.save([torch.zeros(1)], p), ".*list"),
    "words": ("x.pth", lambda p: torch.save({"a": "b", "c": torch.zeros(1)}, p), r".*'a' \(str\)"),
    "noise": ("x.pth", lambda p: p.write_bytes(b"noise" * 99), ""),
    "a cut file": ("x.pth", lambda p: (torch.save({"w": torch.zeros(99)}, p), p.write_bytes(p.read_bytes()[:500])), ""),
    "unsafe tensors": ("x.safetensors", lambda p: p.write_bytes(b"noise" * 99), ""),
    "noise for h5": ("x.h5", lambda p: p.write_bytes(b"noise" * 99), ".*HDF5"),
    "noise for keras": ("x.keras", lambda p: p.write_bytes(b"noise" * 99), r".*\.keras format"),
    "an unknown kind": ("x.onnx", lambda p: p.write_bytes(b"noise"), r".*\.safetensors"),
}
"""Name of a file, a function that writes it, and the text that follows the name in the message."""


@pytest.mark.parametrize("case", FILES)
def test_rejects_invalid_files(case: str, tmp_path: Path) -> None:
    name, write, message = FILES[case]
    write(tmp_path / name)
    with pytest.raises(WeightsError, match=re.escape(name) + message):
        interop.load("ndrplz", tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(HubAccessError, match=r"x\.pth"):
        interop.load("auto", tmp_path / "x.pth")


@pytest.mark.parametrize("end", [".pt", ".pth", ".ckpt", ".safetensors"])
def test_a_state_dict_is_read_from_every_kind_of_file(end: str, tmp_path: Path) -> None:
    state: dict[str, Tensor] = STATES["kimmel"].state
    (save_file if end == ".safetensors" else torch.save)(state, tmp_path / f"x{end}")
    exported = interop.export(interop.load("kimmel", tmp_path / f"x{end}"), "kimmel")
    assert all(torch.equal(exported[k], v) for k, v in state.items())


# ---- arguments -------------------------------------------------------------------------------------------------
def test_rejects_invalid_arguments() -> None:
    with pytest.raises(ValueError, match=r"'tf'.*ndrplz"):
        interop.load("tf", {})
    with pytest.raises(TypeError, match="int"):
        interop.load("ndrplz", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"stride.*batch_first"):
        interop.load("ndrplz", STATES["ndrplz"].state, stride=2)
    with pytest.raises(WeightsError, match="patch_size"):
        interop.load("openstl", STATES["openstl"].state)
    with pytest.raises(TypeError, match=r"padding.*dilation"):
        interop.load("pytorch_convolutional_rnn", STATES["pytorch_convolutional_rnn"].state, padding=1)
    with pytest.raises(TypeError, match="batch_first"):
        interop.load("torch", nn.GRUCell(2, 3).state_dict(), batch_first=True)
    with pytest.raises(WeightsError, match="nonlinearity="):
        interop.load("torch", nn.RNN(2, 3).state_dict())
    with pytest.raises(WeightsError, match="groups=1"):
        interop.load(
            "pytorch_convolutional_rnn", {"weight_hh_l0": torch.zeros(12, 2, 3), "weight_ih_l0": torch.zeros(12, 2, 3)}
        )
    with pytest.raises(ValueError, match="ndim"):
        interop.load("torch", STATES["torch"].state, ndim=4)


@pytest.mark.parametrize("source", ["ndrplz", "kimmel"])
def test_even_kernels_which_the_source_itself_cannot_run(source: str) -> None:
    state = {k: v[:, :, :2] if v.dim() == 4 else v for k, v in STATES[source].state.items()}
    with pytest.raises(WeightsError, match=r"kernel \(2, 3\)"):
        load(source, state)

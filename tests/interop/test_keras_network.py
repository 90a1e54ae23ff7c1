"""Networks of Keras, read without Keras: outputs, formats, saved models, and errors that name the layer."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from click.testing import CliRunner

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from convrnn_zoo.cli._group import cli
from convrnn_zoo.models.keras_network import KerasNetwork
from tests.helpers.interop.recorded import KERAS, assert_close, assert_identical, open_file

NETWORKS = KERAS / "networks"
FILES = sorted(f.name for f in NETWORKS.iterdir() if f.suffix in (".keras", ".h5"))
TIME = {"next_frame2d", "decoder2d", "forecast2d"}
"""Networks whose output has a time axis and maps."""


def channels_first(x: torch.Tensor, has_time: bool) -> torch.Tensor:
    return x.movedim(-1, 2 if has_time else 1)


def values(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns input and output in the order of axes of this package."""
    tensors, _ = open_file(NETWORKS / f"{name}.safetensors")
    return channels_first(tensors["x"], True), channels_first(tensors["y"], name in TIME or name == "sound1d")


@pytest.mark.parametrize("file", FILES)
@torch.no_grad()
def test_outputs_are_those_of_keras(file: str) -> None:
    x, y = values(file.partition(".")[0])
    model = interop.load("auto", NETWORKS / file).eval()
    assert isinstance(model, KerasNetwork)
    assert_close(model(x), y)


@pytest.mark.parametrize("name", ["same2d", "bi_valid1d"])
@torch.no_grad()
def test_a_single_layer_that_returns_the_last_step_is_a_network(name: str, tmp_path: Path) -> None:
    def change(config: dict[str, Any], layers: dict[str, Any]) -> None:
        config["config"]["output_layers"] = config["config"]["output_layers"][:1]
        [layer] = [layer["config"] for layer in layers.values() if layer["class_name"] != "InputLayer"]
        for options in (layer, *(layer.get(side, {}).get("config", {}) for side in ("layer", "backward_layer"))):
            options |= {"return_sequences": False, "return_state": False}

    tensors, _ = open_file(KERAS / f"{name}.safetensors")
    model = interop.load("auto", rewrite(KERAS / f"{name}.keras", tmp_path / "x.keras", change))
    assert isinstance(model, KerasNetwork)
    y = tensors["y"][:, -1]
    if name.startswith("bi"):  # Keras returns the last step of each direction: of the second, the first in time
        y = torch.cat([y.chunk(2, -1)[0], tensors["y"][:, 0].chunk(2, -1)[1]], -1)
    assert_close(model(channels_first(tensors["x"], True)), channels_first(y, False))


@pytest.mark.parametrize("name", ["classifier2d", "heads2d", "sound1d"])
def test_formats_hold_the_same(name: str) -> None:
    one, other = (interop.load("keras", NETWORKS / f"{name}{end}") for end in (".keras", ".h5"))
    assert_identical(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", ["heads2d", "decoder2d"])
@torch.no_grad()
def test_the_command_writes_a_model_that_loads_without_keras(name: str, tmp_path: Path) -> None:
    out, x, y = tmp_path / "mine", *values(name)
    result = CliRunner().invoke(cli, ["convert", str(NETWORKS / f"{name}.keras"), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "keras_network" in result.output
    for model in (convrnn_zoo.from_pretrained(out), convrnn_zoo.create_model(f"local-dir:{out}", pretrained=True)):
        assert_close(model.eval()(x), y)
    assert_close(copy.deepcopy(model)(x), y)
    assert_close(pickle.loads(pickle.dumps(model))(x), y)
    convrnn_zoo.save_pretrained(model, tmp_path / "again")
    assert_identical(convrnn_zoo.from_pretrained(tmp_path / "again").state_dict(), model.state_dict())
    with pytest.raises(WeightsError):
        convrnn_zoo.from_pretrained(out, in_chans=7)


@pytest.mark.slow
def test_another_process_loads_the_model_without_h5py_and_keras(tmp_path: Path) -> None:
    interop.convert("keras", NETWORKS / "heads2d.keras", tmp_path / "mine")
    code = (
        "import sys; sys.modules.update(h5py=None, keras=None)\n"
        "import convrnn_zoo, torch\n"
        f"model = convrnn_zoo.from_pretrained({str(tmp_path / 'mine')!r})\n"
        "print(tuple(model(torch.zeros(1, 3, 1, 8, 8)).shape))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "(1, 2, 8, 8)" in out


def test_a_network_can_be_trained_further() -> None:
    model = interop.load("keras", NETWORKS / "classifier2d.keras").train()
    model(values("classifier2d")[0]).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_architecture_without_layers_is_an_error() -> None:
    assert "keras_network" not in convrnn_zoo.list_models()
    with pytest.raises(ValueError, match=r"convert model\.keras"):
        convrnn_zoo.create_model("keras_network")


def test_inputs_of_another_size_are_errors() -> None:
    model = interop.load("keras", NETWORKS / "classifier2d.keras")
    for shape in ((1, 4, 2, 10, 8), (1, 5, 2, 10, 9), (1, 4, 3, 10, 9), (4, 2, 10, 9)):
        with pytest.raises(ValueError, match=r"expected an input \(N, 4, 2, 10, 9\)"):
            model(torch.zeros(shape))
    longer = interop.load("keras", NETWORKS / "next_frame2d.keras").eval()
    assert longer(torch.zeros(1, 9, 1, 8, 7)).shape == (1, 9, 1, 8, 7)


# ---- files that are not supported -------------------------------------------------------------------------------
def rewrite(name: str | Path, path: Path, change: Any) -> Path:
    """Copies a .keras file with a changed configuration."""
    source = NETWORKS / f"{name}.keras" if isinstance(name, str) else name
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "config.json":
                config = json.loads(content)
                change(config, {layer["config"]["name"]: layer for layer in config["config"]["layers"]})
                content = json.dumps(config).encode()
            new.writestr(member, content)
    return path


def relabel(layer: str, **fields: Any) -> Any:
    return lambda config, layers: layers[layer].update(fields)


def reset(layer: str, **options: Any) -> Any:
    return lambda config, layers: layers[layer]["config"].update(options)


def append_argument(layer: str, argument: Any) -> Any:
    """Calls a layer with an argument that is no tensor, as ``x * 2.0`` and ``x[..., 0]`` do."""
    return lambda config, layers: layers[layer]["inbound_nodes"][0]["args"].append(argument)


UNSUPPORTED = [
    ("heads2d", relabel("out_0", class_name="Lambda"), r"layer 'out_0' \(Lambda\).*code"),
    ("heads2d", relabel("out_1", class_name="Mine"), r"layer 'out_1' \(Mine\).*Pass layer="),
    ("heads2d", relabel("lstm", class_name="LSTM"), r"layer 'lstm' \(LSTM\)"),
    ("heads2d", reset("out_0", data_format="channels_first"), r"'out_0'.*channels_first"),
    ("heads2d", reset("out_0", activation="mine"), r"'out_0'.*'mine'"),
    ("heads2d", reset("lstm", stateful=True), r"'lstm'.*stateful"),
    ("heads2d", reset("lstm", return_state=True), r"'lstm'.*return_state"),
    ("heads2d", reset("out_0", new_option=3), r"'out_0'.*new_option=3"),
    ("heads2d", reset("out_0", activation={"class_name": "Mine"}), r"'out_0'.*Mine"),
    ("heads2d", lambda c, _: c.update(class_name="Mine"), "'Mine', whose code is not in the file"),
    ("heads2d", lambda c, _: c["config"].update(output_layers=[["out_0", 0, 0], ["out_1", 0, 0]]), "2 outputs"),
    (
        "heads2d",
        lambda _, layers: layers["out_0"]["inbound_nodes"].append(layers["out_0"]["inbound_nodes"][0]),
        "called 2 times",
    ),
    ("heads2d", append_argument("out_0", 2.0), r"layer 'out_0' .*called with 2\.0.*Pass layer="),
    ("heads2d", append_argument("out_0", {"class_name": "__ellipsis__"}), r"'out_0'.*called with .*__ellipsis__"),
    ("classifier2d", reset("dense", units=7), r"of another shape: layers/dense/vars/0"),
    ("classifier2d", reset("batch_normalization", axis=1), r"'batch_normalization'.*axis"),
]


@pytest.mark.parametrize(("name", "change", "message"), UNSUPPORTED)
def test_errors_name_the_first_layer_that_is_not_supported(
    name: str, change: Any, message: str, tmp_path: Path
) -> None:
    path = rewrite(name, tmp_path / "x.keras", change)
    with pytest.raises(ValueError, match=message):
        interop.load("keras", path)


@pytest.mark.parametrize("kind", ["Lambda", "LSTM"])
@pytest.mark.parametrize("source", ["auto", "keras"])
def test_a_network_of_one_layer_without_weights_names_the_layer(kind: str, source: str, tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": [
        {"class_name": "InputLayer", "config": {"name": "input", "batch_shape": [None, 4, 8, 8, 1]}},
        {"class_name": kind, "config": {"name": "last"}},
    ]}}  # fmt: skip
    h5py.File(tmp_path / "x.h5", "w").close()
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("metadata.json", json.dumps({"keras_version": "3.8.0"}))
        file.write(tmp_path / "x.h5", "model.weights.h5")
    with pytest.raises(ValueError, match=rf"layer 'last' \({kind}\) is not supported"):
        interop.load(source, tmp_path / "x.keras")


def test_the_error_names_the_first_of_several(tmp_path: Path) -> None:
    def change(_: Any, layers: dict[str, Any]) -> None:
        for name in ("out_0", "out_1"):
            layers[name]["class_name"] = "Mine"

    with pytest.raises(ValueError, match="'out_0'"):
        interop.load("keras", rewrite("heads2d", tmp_path / "x.keras", change))


DAMAGED = [
    lambda _, layers: layers["out_0"].update(inbound_nodes=[]),
    lambda _, layers: layers["out_0"].update(inbound_nodes=[{"args": [7], "kwargs": {}}]),
    lambda _, layers: layers["lstm"].update(inbound_nodes=copy.deepcopy(layers["out_0"]["inbound_nodes"])),  # a cycle
    lambda _, layers: layers["lstm"]["config"].update(filters="many"),
    lambda _, layers: layers["lstm"]["config"].update(filters=10**12),
    lambda _, layers: layers["lstm"]["config"].update(kernel_size=[]),
    lambda _, layers: layers["sst_input"]["config"].update(batch_shape=[None, 3, 8, 8, 10**9]),
    lambda _, layers: layers["sst_input"]["config"].update(batch_shape=[None, None]),
    lambda c, _: c["config"].update(output_layers=[["none", 0, 0]]),
    lambda c, _: c["config"].update(layers=c["config"]["layers"] * 40),
    lambda c, _: c["config"]["layers"].append(None),
    lambda c, _: c["config"]["layers"][1].pop("config"),
]


@pytest.mark.parametrize("change", DAMAGED)
def test_damaged_configurations_are_errors(change: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.keras"):
        interop.load("keras", rewrite("heads2d", tmp_path / "x.keras", change))


@torch.no_grad()
def test_a_custom_layer_may_be_declared_to_be_the_last_frame(tmp_path: Path) -> None:
    """The activation, of a map, becomes a slice of the input sequence."""

    def change(config: Any, layers: dict[str, Any]) -> None:
        first = layers["out_0"]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0]
        layers[first]["class_name"] = "LastFrameSlice"
        layers[first]["inbound_nodes"] = copy.deepcopy(layers["lstm"]["inbound_nodes"])
        layers["out_0"]["class_name"], layers["out_0"]["config"] = "Activation", {"name": "out_0", "activation": "tanh"}

    path = rewrite("heads2d", tmp_path / "x.keras", change)
    with pytest.raises(ValueError, match="LastFrameSlice"):
        interop.load("keras", path)
    with pytest.raises(WeightsError, match=r"unexpected: .*out_0"):
        interop.load("keras", path, last_frame="LastFrameSlice")


@torch.no_grad()
def test_the_last_frame_is_that_of_the_sequence() -> None:
    lstm = ["lstm", "ConvLSTM2D", ["input"], ["filters", 1], ["kernel_size", 1]]
    layers = [lstm, ["last", "LastFrame", ["input"]], ["sum", "Subtract", ["last", "last"]]]
    model = KerasNetwork([lstm, ["last", "LastFrame", ["input"]]], [3, 4, 5, 2])
    x = torch.randn(2, 3, 2, 4, 5)
    assert torch.equal(model(x), x[:, -1])
    assert not KerasNetwork(layers, [3, 4, 5, 2])(x).any()

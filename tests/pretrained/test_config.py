"""A config.json of untrusted origin: values that would take memory are rejected before anything is allocated."""

import dataclasses
import json
import subprocess
import sys

import pytest

from convrnn_zoo import (
    WEIGHTS,
    LogMel,
    WeightsError,
    create_model,
    from_pretrained,
    save_pretrained,
)
from convrnn_zoo.pretrained.config import parse_config
from convrnn_zoo.pretrained.metadata import WeightsMetadata

CHILD = """
import builtins, io, socket, sys
def fail(*a, **k): raise AssertionError("network")
socket.socket.connect = fail
opened, original = [], io.open
def spy(file, *a, **k):
    opened.append(str(file)); return original(file, *a, **k)
builtins.open = io.open = spy
import convrnn_zoo
later = {f"convrnn_zoo.{name}" for name in ("cli", "hub", "interop", "train")}
early = [f for f in opened if f.endswith(".safetensors")] + [
    name for name in sys.modules if name in {"aeon", "matplotlib", "hypothesis"} | later
]
print("imported with", early, flush=True)
import resource
limit = 6 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        convrnn_zoo.from_pretrained(path)
    except Exception as e:
        print(type(e).__name__, e)
    else:
        print("loaded")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    model = create_model("convgru1d_1layer", hidden_channels=1, in_chans=40, num_classes=2)
    model.front_end = LogMel(rate=8000)
    return save_pretrained(model, directory)


VALUES = {
    "rate": {"front_end": {"rate": 2**31, "window": 1.0, "hop": 1.0}},
    "window of a low rate": {"front_end": {"rate": 2**28, "window": 0.9, "hop": 0.5}},
    "bands": {"front_end": {"bands": 2**16, "rate": 2**16, "window": 1.0}, "model_args": {"in_chans": 2**16}},
    "hop": {"front_end": {"hop": 1e-300}},
    "beyond floats": {"front_end": {"rate": 10**400}},
    "input_size": {"pretrained_cfg": {"input_size": [40, 2**40, 2**40]}},
    "input_size of words": {"pretrained_cfg": {"input_size": [40, "a", 1]}},
    "horizon": {"model_args": {"horizon": 50_000}},
}


@pytest.fixture(scope="module")
def loaded(saved, tmp_path_factory):
    """Returns what one process reports on importing, and for every path: configs with VALUES, and oversized files."""
    tmp_path, paths = tmp_path_factory.mktemp("loaded"), {}
    for name, changes in VALUES.items():
        config = json.loads((saved / "config.json").read_text())
        for key, value in changes.items():
            config[key] |= value
        paths[name] = tmp_path / name
        paths[name].mkdir()
        (paths[name] / "config.json").write_text(json.dumps(config))
        (paths[name] / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    for name in ("config.json", "weights.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**36)
    paths |= {"vast config": tmp_path, "vast weights": tmp_path / "weights.json"}
    # torch 2.6 leaves a directory to be removed as the process ends.
    warnings = ("-W", "error", "-W", "ignore:Implicitly cleaning up:ResourceWarning")
    command = [sys.executable, *warnings, "-c", CHILD, *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    first, *lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(paths), done
    reports = {name: (path, lines[2 * i], int(lines[2 * i + 1])) for i, (name, path) in enumerate(paths.items())}
    return reports | {"import": (first, done.stderr)}


@pytest.mark.needs("linux")
def test_importing_is_silent_and_touches_neither_network_nor_weights(loaded):
    assert loaded["import"] == ("imported with []", "")


@pytest.mark.needs("linux")
@pytest.mark.parametrize("name", [*VALUES, "vast config", "vast weights"])
def test_values_and_files_that_ask_for_memory_are_rejected_in_one_line(name, loaded):
    path, message, grown = loaded[name]
    assert message.startswith(f"WeightsError {path}"), message
    assert grown < 300 * 1024, path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classifier", [3]),
        ("classifier", 3),
        ("classifier", {"head": 1}),
        ("first_conv", [["stem"]]),
        ("first_conv", 1.5),
        ("mean", [0.0, 1.0]),
        ("std", [1.0] * 41),
        ("license", "\x1b]0;a\x07mit"),
        ("tag", {"a": 1}),
        ("description", ["x"]),
        ("crop_pct", {"a": 1}),
        ("label_descriptions", ["x" * 100_000]),
        ("label_descriptions", {"a": 1}),
    ],
)
def test_fields_of_the_cfg_are_checked(key, value, saved):
    raw = json.loads((saved / "config.json").read_text())
    parse_config(raw, "a")
    raw["pretrained_cfg"][key] = value
    with pytest.raises(WeightsError, match=f"^a: .*{key}"):
        parse_config(raw, "a")


@pytest.mark.parametrize("descriptions", [{"ah": "the vowel a", "ee": "the vowel e"}, ["a", "b"], None])
def test_descriptions_of_labels_are_read_and_saved(descriptions, saved, tmp_path):
    model = from_pretrained(saved)
    model.pretrained_cfg["label_descriptions"] = descriptions
    save_pretrained(model, tmp_path)
    assert from_pretrained(tmp_path).pretrained_cfg.get("label_descriptions") == descriptions


@pytest.mark.parametrize("shape", [["T", 1, 2**14, 2**14], ["T", 1, -1, 8]])
def test_input_shapes_of_metadata_are_bounded(shape):
    raw = {**json.loads(next(iter(WEIGHTS.values())).to_json()), "input_shape": shape}
    with pytest.raises(ValueError, match="input_shape"):
        WeightsMetadata.from_plain(raw)


def test_names_of_weights_are_short():
    metadata = next(iter(WEIGHTS.values()))
    with pytest.raises(ValueError, match="name must be"):
        dataclasses.replace(metadata, name="a" * 300 + ".b")

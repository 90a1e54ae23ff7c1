"""A config.json of untrusted origin: values that would take memory are rejected before anything is allocated."""

import json
import subprocess
import sys

import pytest

from convrnn_zoo import LogMel, create_model, save_pretrained

CHILD = """
import resource, sys
import convrnn_zoo
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


def load_in_a_process(paths):
    """Loads each path in one process with limited memory; the message and the KiB that it took, by path."""
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 2 * len(paths), lines
    return {path: (lines[2 * i], int(lines[2 * i + 1])) for i, path in enumerate(paths)}


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
    """Returns what one process reports for every path: configs with one of the VALUES, and oversized files."""
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
    return dict(zip(paths, load_in_a_process(paths.values()).items(), strict=True))


@pytest.mark.needs("linux")
@pytest.mark.parametrize("name", VALUES)
def test_values_that_ask_for_memory_are_rejected_in_one_line(name, loaded):
    path, (message, grown) = loaded[name]
    assert message.startswith(f"WeightsError {path}"), message
    assert grown < 300 * 1024, path


@pytest.mark.needs("linux")
@pytest.mark.parametrize("name", ["vast config", "vast weights"])
def test_an_oversized_config_is_not_read(name, loaded):
    _, (message, grown) = loaded[name]
    assert message.startswith("WeightsError")
    assert grown < 300 * 1024

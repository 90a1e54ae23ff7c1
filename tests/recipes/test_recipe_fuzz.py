"""Mutated recipes end in a result or an error of one line, never in a traceback or without memory."""

import copy
import multiprocessing
import random
import tomllib
import warnings

import numpy as np
import pytest

from benchmarks.memory import peak_memory
from convrnn_zoo.recipes._toml import toml
from tests.helpers.command_line import CliRunner, cli
from tests.helpers.data.own_data import CLIPS, FRAMES, RADAR, RAMPS, blobs, write_clips, write_ramps
from tests.helpers.train.tiny_recipes import TINY

SAMPLED = TINY.to_toml()
BASES = {"frames": FRAMES, "radar": RADAR, "digits": SAMPLED, "ramps": RAMPS, "clips": CLIPS}
VALUES = [
    0, 1, -1, 2, 3, 5, 10**9, 2**31, 2**63, 10**30, 10**400, -(10**9), 0.0, 0.5, -0.5, 1.5, 1e-30, 1e30, float("nan"),
    float("inf"), float("-inf"), "", " ", "x", "mse", "none", "avg", "log", "a/b", "é\n", True, False, [], [0], [1, 2],
    ["a"], [1.5, -1], [[1]], {}, {"a": 1}, [{}], "file", "time", "adam", "muon", "convgru_forecaster.x", "predrnn.x",
]  # fmt: skip
SHORT = {"updates", "max_steps", "epochs"}
"""Keys whose valid values must stay small, or the run would not end."""


def list_tables(raw):
    return [raw, *(v for v in raw.values() if isinstance(v, dict))]


def mutate(raw, chance):
    """Sets, removes, adds or misspells one to three keys."""
    raw = copy.deepcopy(raw)
    for _ in range(chance.choice([1, 1, 2, 3])):
        table = chance.choice(list_tables(raw))
        key = chance.choice(list(table) or ["x"])
        action = chance.random()
        if action < 0.7:
            value = chance.choice(VALUES)
            if not (key in SHORT and isinstance(value, int) and value > 5):
                table[key] = value
        elif action < 0.8:
            table.pop(key, None)
        elif action < 0.9:
            table[chance.choice(["x", "lr", "kind", "crop", "hidden_channels", "seed", "cycles"])] = chance.choice(
                VALUES
            )
        elif key in table:
            table[key[:-1] + chance.choice("aez")] = table.pop(key)
    return raw


def format_recipe(raw):
    lines = [f"{k} = {toml(v)}" for k, v in raw.items() if not isinstance(v, dict)]
    for name, table in raw.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{k} = {toml(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def mutate_text(text, chance):
    """Removes, doubles or replaces a character or a line that is no number."""
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    line = lines[at]
    if any(line.startswith(k) for k in SHORT) or not line:
        return text
    action, i = chance.random(), chance.randrange(len(line))
    if action < 0.3:
        lines[at] = line[:i] + line[i + 1 :]
    elif action < 0.6:
        lines[at] = line[:i] + chance.choice("\"'[]={}#.\\\x00é 0x") + line[i:]
    elif action < 0.8:
        lines.insert(at, line)
    else:
        del lines[at]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from tests.helpers.made_data import write_digits

    root = tmp_path_factory.mktemp("data")
    for name in ("frames", "digits"):
        (root / name).mkdir()
    for i in range(2):
        np.save(root / "frames" / f"{i}.npy", blobs(seed=i))
    write_digits(root / "digits")
    write_ramps(root / "ramps.npz")
    write_clips(root / "clips", count=3)
    frames = root / "frames"
    return {
        "frames": frames,
        "radar": frames,
        "digits": root / "digits",
        "ramps": root / "ramps.npz",
        "clips": root / "clips",
    }


def check(seed, data, directory):
    chance = random.Random(seed)
    name = chance.choice(list(BASES))
    text = BASES[name]
    text = mutate_text(text, chance) if chance.random() < 0.2 else format_recipe(mutate(tomllib.loads(text), chance))
    file, out = directory / "r.toml", directory / f"run{seed}"
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(cli, ["train", str(file), "--data", str(data[name]), "-o", str(out), "--quiet"])
    trace = f"seed {seed}\n{text}\n{done.output}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(trace) from done.exception
    assert done.exit_code in (0, 1), trace
    if done.exit_code:
        assert "Error: " in done.output, trace
        assert "Traceback" not in done.output, trace


GIB = 2**30


def run_in_fresh_process(seeds, data, directory):
    """Checks the seeds with warnings as errors and returns the peak memory of the process."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", FutureWarning)  # of the deprecated key seed
    for seed in seeds:
        check(seed, data, directory)
    return peak_memory()


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0, *range(8, 3000, 44)])
def test_mutated_recipes_end_in_a_result_or_an_error(begin, data, tmp_path):
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # the peak of this process includes other tests
        peak = pool.apply(run_in_fresh_process, (range(begin, begin + 44 if begin else 8), data, tmp_path))
    assert peak < 2 * GIB

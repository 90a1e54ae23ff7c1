"""Several processes that train together: on data of one's own, and one recipe after the other."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.data.own_data import RADAR, blobs, write_zarr

from .runs import LAUNCHERS, free_port, sha256
from .tiny_recipes import train_command

TWICE = """
import sys
from pathlib import Path
from convrnn_zoo.train import Recipe, train
recipe, data, *outs = sys.argv[1:]
for out in outs:
    record = train(Recipe.read(recipe), data=Path(data), out=Path(out), progress=False)
    sys.stdout.write("main\\n" if record else "helper\\n")  # at once: two processes write there
"""


def launched(*arguments):
    launcher = "accelerate.commands.launch"
    options = [o.format(port=free_port()) for o in LAUNCHERS[launcher]]
    command = [sys.executable, "-m", launcher, *options, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_two_processes_train_twice_to_the_loss_of_one_with_the_doubled_batch(kind, tmp_path):
    data = tmp_path / f"a.{kind}"
    np.save(data, blobs(30)) if kind == "npy" else write_zarr(data, blobs(30))
    for batch in (2, 4):
        text = RADAR.replace("batch_size = 2", f"batch_size = {batch}").replace("every = 3", "every = 1")
        (tmp_path / f"{batch}.toml").write_text(text)
    subprocess.run(train_command(tmp_path / "4.toml", data, tmp_path / "one"), check=True, capture_output=True)
    (tmp_path / "twice.py").write_text(TWICE)
    outs = [tmp_path / "two", tmp_path / "again"]
    said = launched(tmp_path / "twice.py", tmp_path / "2.toml", data, *outs)
    assert sorted(said.split()) == ["helper", "helper", "main", "main"]
    one, two = (torch.load(tmp_path / n / "last.ckpt", weights_only=True)["history"] for n in ("one", "two"))
    assert len(one) == 3
    assert two == pytest.approx(one, rel=1e-4)
    assert sha256(outs[0] / "model.safetensors") == sha256(outs[1] / "model.safetensors")


@pytest.mark.slow
def test_an_error_in_one_process_ends_them_all(tmp_path):
    (tmp_path / "r.toml").write_text(RADAR)
    command = train_command(tmp_path / "r.toml", tmp_path / "nothing.npy", tmp_path / "run", "-m",
                            "accelerate.commands.launch", *[o.format(port=free_port()) for o in
                                                            LAUNCHERS["accelerate.commands.launch"]])  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "nothing.npy is not there" in done.stderr

"""Training in several processes: on custom data, and one recipe after the other."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from convrnn_zoo import train as training
from convrnn_zoo.train.launch import Processes, launch
from tests.helpers.data.own_data import RADAR, blobs, write_zarr
from tests.helpers.train.runs import LAUNCHERS, free_port, sha256
from tests.helpers.train.tiny_recipes import PLAIN, train_command
from tests.train.test_loop import CLASSIFIER as TINY_CLASSIFIER

TRAIN_ALL = """
import sys
from pathlib import Path
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
recipe, data, *outs = sys.argv[1:]
for out in outs:
    record = train(Recipe.read(recipe), data=Path(data), out=Path(out), progress=False)
    sys.stdout.write("main\\n" if record else "helper\\n")  # at once: two processes write there
"""

EVENTS = "tensorboard.backend.event_processing.event_accumulator"


def launch_processes(*arguments):
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
    (tmp_path / "twice.py").write_text(TRAIN_ALL)
    outs = [tmp_path / "two", tmp_path / "again"]
    output = launch_processes(tmp_path / "twice.py", tmp_path / "2.toml", data, *outs)
    assert sorted(output.split()) == ["helper", "helper", "main", "main"]
    one, two = (torch.load(tmp_path / n / "last.ckpt", weights_only=True)["history"] for n in ("one", "two"))
    one, two = ([row["loss"] for row in rows] for rows in (one, two))
    assert len(one) == 3
    assert two == pytest.approx(one, rel=1e-4)
    assert sha256(outs[0] / "model.safetensors") == sha256(outs[1] / "model.safetensors")


@pytest.mark.slow
def test_an_error_in_one_process_ends_them_all(tmp_path):
    (tmp_path / "r.toml").write_text(RADAR)
    command = train_command(
        tmp_path / "r.toml",
        tmp_path / "nothing.npy",
        tmp_path / "run",
        "-m",
        "accelerate.commands.launch",
        *[o.format(port=free_port()) for o in LAUNCHERS["accelerate.commands.launch"]],
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "nothing.npy" in done.stderr


# ---- devices and random states ---------------------------------------------------------------------------------


def test_models_and_batches_go_to_the_device_of_the_processes():
    meta = Processes(device=torch.device("meta"))
    assert next(meta.prepare(torch.nn.Linear(1, 1), CLASSIFIED).parameters()).is_meta
    assert set(meta.random_states()) == {"host", "numpy", "python"}


def test_a_device_is_for_a_single_process(monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(ValueError, match="device meta"), launch("meta"):
        pass


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("MIXED_PRECISION", "bf16", "bf16 = true"),
        ("MIXED_PRECISION", "fp16", "bf16"),
        ("GRADIENT_ACCUMULATION_STEPS", "4", "grad_accum_steps"),
    ],
)
def test_settings_of_the_launcher_that_the_recipe_does_not_have_are_rejected(
    variable, value, key, monkeypatch, tmp_path
):
    monkeypatch.setenv(f"ACCELERATE_{variable}", value)
    clips = [torch.rand(6, 1, 8, 8) for _ in range(4)]
    recipe = dataclasses.replace(PLAIN, data={"kind": "frames", "name": "noise"}, max_steps=1)
    data = {"train": clips, "test": clips}
    with pytest.raises(ValueError, match=rf"{value}.*{key}"):
        training.train(recipe, data=data, out=tmp_path, progress=False)
    recipe = dataclasses.replace(recipe, bf16=True, grad_accum_steps=4)
    if value != "fp16":
        training.train(recipe, data=data, out=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [("USE_FSDP", "true", "fsdp"), ("USE_DEEPSPEED", "true", "deepspeed"), ("DYNAMO_BACKEND", "INDUCTOR", "INDUCTOR")],
)
def test_options_of_the_launcher_that_would_be_ignored_are_rejected(variable, value, named, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_{variable}", value)
    with pytest.raises(ValueError, match=rf"launcher .*{named}"), launch():
        pass
    monkeypatch.setenv(f"ACCELERATE_{variable}", "NO" if variable == "DYNAMO_BACKEND" else "false")
    with launch("cpu"):
        pass


@pytest.mark.parametrize(
    ("name", "value"), [("threads", 0), ("threads", -1), ("checkpoint_minutes", -1.0), ("checkpoint_minutes", np.nan)]
)
def test_numbers_out_of_range_are_rejected(name, value):
    with pytest.raises(ValueError, match=rf"{name}.*{value}"), launch("cpu", **{name: value}):
        pass


# ---- trackers --------------------------------------------------------------------------------------------------
def train_with(tracker, directory):
    """Trains three rounds of random frames and returns the directory."""
    clips = [torch.rand(6, 1, 8, 8) for _ in range(4)]
    recipe = dataclasses.replace(PLAIN, data={"kind": "frames", "name": "noise"})
    data = {"train": clips, "test": clips, "validation": clips[:2]}
    training.train(recipe, data=data, out=directory / "run", progress=False, log_with=[tracker])
    return directory


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_receives_losses_rates_scores_and_figures(tmp_path):
    accumulator = pytest.importorskip(EVENTS, reason="the extra tensorboard")
    events = accumulator.EventAccumulator(str(train_with("tensorboard", tmp_path) / "run" / "training"))
    events.Reload()
    assert {"loss", "learning_rate", "validation_loss"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("loss")] == [2, 4, 6]
    assert len(events.Images("forecast")) == 3


CLASSIFIED = dataclasses.replace(TINY_CLASSIFIER, seeds=(3, 5), epochs=2)


@pytest.mark.filterwarnings("ignore")
def test_wandb_receives_losses_and_figures_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb")
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": tmp_path, "CACHE_DIR": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    train_with("wandb", tmp_path)
    (stored,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert all(name in stored.read_bytes() for name in (b"validation_loss", b"learning_rate"))
    assert len(list(stored.parent.glob("files/media/images/forecast_*.png"))) == 3


@pytest.mark.filterwarnings("ignore")
def test_mlflow_receives_settings_losses_and_figures_in_a_file(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.chdir(tmp_path)
    train_with("mlflow", tmp_path)
    client = mlflow.MlflowClient()
    (run,) = [r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])]
    assert run.info.status == "FINISHED"
    assert float(run.data.params["lr"]) == PLAIN.lr
    assert [m.step for m in client.get_metric_history(run.info.run_id, "validation_loss")] == [2, 4, 6]
    figures = [a.path for a in client.list_artifacts(run.info.run_id, "images") if a.path.endswith(".png")]
    assert len(figures) == 3


def test_trackers_are_closed_after_an_interruption(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="the extra tensorboard")
    from accelerate.tracking import TensorBoardTracker

    closed = []
    monkeypatch.setattr(TensorBoardTracker, "finish", lambda self: closed.append(self.name))
    with pytest.raises(KeyboardInterrupt), launch("cpu", ["tensorboard"], tmp_path):
        raise KeyboardInterrupt
    assert closed == ["tensorboard"]

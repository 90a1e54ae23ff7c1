"""Waiting times of users: ``python -m benchmarks.tasks`` times whole tasks and writes tasks.json.

Each task runs in a new process. All times are seconds of processor time, which other programs hardly change.
"""

# torch, timm and convrnn_zoo are imported in functions, since the time of each import is measured.
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

MEASURED = Path(__file__).with_name("tasks.json")
DEMO = Path(__file__).parents[1] / "convrnn_zoo" / "demo"
HORIZON = 12
PARTS = ("torch and timm", "convrnn_zoo", "preparation", "first run")
Run = Callable[[], Any]


class Task(NamedTuple):
    """A task of a user. `prepare` builds the model and reads the input, and returns a function that runs the task."""

    title: str
    prepare: Callable[..., Run]
    arguments: tuple[Any, ...] = ()
    per: int = 1
    """Number of units, such as frames, that a run computes; the times of the run are divided by it."""


def nothing() -> Run:
    """Prepares nothing."""
    return lambda: None


def create(name: str) -> Run:
    """Runs ``create_model``."""
    import convrnn_zoo

    return lambda: convrnn_zoo.create_model(name, pretrained=True)


def predict(*arguments: str) -> Run:
    """Runs the command ``predict``."""
    from convrnn_zoo.cli.predict import predict as command

    return lambda: command.main([*arguments, "-o", "result.json", "--quiet"], standalone_mode=False)


def nowcast(edge: int, device: str = "cpu") -> Run:
    """Forecasts one hour of rain on maps of `edge` × `edge` pixels."""
    import torch

    import convrnn_zoo

    model = convrnn_zoo.create_model("convgru_advection.nowcast", pretrained=True, device=device)
    rain = _demo("nowcast")[:4].to(device)
    repeats = -(-edge // rain.shape[-1])
    rain = torch.tile(rain, (1, repeats, repeats))[:, :edge, :edge]
    return lambda: model.forecast(rain, HORIZON)


def export(name: str) -> Run:
    """Exports a model to ONNX."""
    import warnings

    import convrnn_zoo

    warnings.simplefilter("ignore", FutureWarning)  # of torch's exporter
    model = convrnn_zoo.create_model(name, pretrained=True)
    return lambda: convrnn_zoo.export(model, "model.onnx")


def training_step(recipe: str, sample: str, bf16: bool, device: str = "cpu") -> Run:
    """Trains a recipe for one update, on copies of a sample of the demo."""
    import dataclasses

    import torch

    from convrnn_zoo.data import CustomSequences
    from convrnn_zoo.recipes import Recipe
    from convrnn_zoo.train.forecaster import ForecasterTrainer
    from convrnn_zoo.train.launch import Processes

    read: Any = dataclasses.replace(Recipe.read(recipe), bf16=bf16)
    clip = _demo(sample)[: read.inputs + read.horizon, None, :64, :64]
    trainer = ForecasterTrainer(
        read, CustomSequences([clip]), progress=False, processes=Processes(device=torch.device(device))
    )
    frames = clip.expand(read.batch_size, *clip.shape).contiguous().to(device)
    return lambda: trainer.update([(1.0, (frames, trainer.sample_update(0)[1].to(device)))])


def classify_sounds(count: int, device: str = "cpu") -> Run:
    """Classifies spoken digits."""
    import convrnn_zoo
    from convrnn_zoo.data import read_sound

    model = convrnn_zoo.create_model("audio_convrnn.fsdd", pretrained=True, device=device)
    wave, rate = read_sound(DEMO / "seven.wav")
    return lambda: model.classify_sound([wave] * count, rate)


def _demo(name: str) -> Any:
    import numpy as np
    import torch

    x = np.load(DEMO / f"{name}.npz")["x"]
    return torch.tensor(x / 255 if x.dtype == np.uint8 else x, dtype=torch.float32)


RECIPES = {"moving_mnist": "moving_mnist", "nowcast": "nowcast", "rain": "rain"}
"""Recipes whose training is timed, and the samples of the demo that they read."""
TASKS = {
    "import": Task("`import convrnn_zoo`", nothing),
    "create_model": Task("`create_model`, `convgru_forecaster.rain`", create, ("convgru_forecaster.rain",)),
    "predict": Task(
        "`convrnn-zoo predict`, classes of one file",
        predict,
        ("convlstm1d_bi_1layer.japanese_vowels", str(DEMO / "japanese_vowels.npz")),
    ),
    **{f"nowcast{n}": Task(f"nowcast of {n}², per frame", nowcast, (n,), HORIZON) for n in (160, 512, 2048)},
    "export": Task("export of the nowcast to ONNX", export, ("convgru_advection.nowcast",)),
    **{
        f"{recipe}-{'bf16' if bf16 else 'float32'}": Task(
            f"training step of `{recipe}`, {'bfloat16' if bf16 else 'float32'}", training_step, (recipe, sample, bf16)
        )
        for recipe, sample in RECIPES.items()
        for bf16 in (False, True)
    },
    "sounds": Task("1,000 spoken digits", classify_sounds, (1000,)),
}


def measure(name: str, again: int) -> dict[str, float]:
    """Returns the seconds of each part of a task, and the least of `again` further runs, if any, as ``"again"``.

    It must run in a new process, which has imported nothing else.
    """
    task, marks = TASKS[name], [0.0]  # the start of Python counts towards the first part
    import timm  # noqa: F401
    import torch

    marks.append(time.process_time())
    import convrnn_zoo  # noqa: F401

    marks.append(time.process_time())
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # for the files that a task writes
        try:
            run = task.prepare(*task.arguments)
            marks.append(time.process_time())
            run()
            marks.append(time.process_time())
            parts = dict(zip(PARTS, (b - a for a, b in itertools.pairwise(marks)), strict=True))
            parts["first run"] /= task.per
            warm = [_seconds(run) / task.per for _ in range(again)]
            return parts | ({"again": min(warm)} if warm else {})
        finally:
            os.chdir(DEMO)


def _seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@click.command(help="Time whole tasks of users, each in new processes.")
@click.option("--task", "names", multiple=True, type=click.Choice(list(TASKS)), help="Only this task.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Processes of each task.")
@click.option("--again", default=3, show_default=True, type=click.IntRange(0), help="Warm runs in each process.")
@click.option("-o", "--output", "out", default=MEASURED, type=click.Path(path_type=Path, dir_okay=False))
def main(names: tuple[str, ...], rounds: int, again: int, out: Path) -> None:
    """Times the tasks in turn, and writes the least times."""
    import torch

    from .measure import machine
    from .memory import in_a_fresh_process

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    measured: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name in names or TASKS:
            parts = in_a_fresh_process(measure, name, again)
            measured[name] = {k: min(v, measured.get(name, parts)[k]) for k, v in parts.items()}
            click.echo(json.dumps({name: {k: round(v, 4) for k, v in measured[name].items()}}))
    rows = [{"name": name, "title": TASKS[name].title, **measured[name]} for name in measured]
    out.write_text(
        json.dumps({"machine": machine("cpu"), "rounds": rounds, "tasks": rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()

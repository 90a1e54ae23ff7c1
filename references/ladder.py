"""The ladder of forecasters: every family at one size, trained with one budget: ``python -m references.ladder``.

For each dataset and family, three learning rates are compared by the validation loss after a quarter of the budget.
With the best one, a new network is trained for the whole budget and scored on the test split, which selects nothing.
Then the other seeds of the best families follow. ``ladder.json`` receives each row as soon as it is complete; a row
that is there is not trained again, and an interrupted training continues from its checkpoint in ``runs/ladder``.
"""

import csv
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch

import convrnn_zoo
from benchmarks.measure import machine
from benchmarks.memory import in_a_fresh_process, rise
from convrnn_zoo._atomic import atomic_write
from convrnn_zoo.data import CroppedSequences
from convrnn_zoo.train import Recipe, train
from convrnn_zoo.verify.evaluation import evaluate, make_metrics

RESULTS = Path(__file__).with_suffix(".json")
BATCH = 8
SEQUENCES = 3_200
"""Sequences that each network reads in training."""
RATES = (0.0015, 0.003, 0.006)
SCORES = {"moving_mnist": "MSE", "rain": "CSI 0.5 mm/h"}
"""The metric by which a dataset orders the families."""
BASELINES = {"moving_mnist": ("last frame",), "rain": ("last frame", "extrapolation", "S-PROG", "ANVIL")}
"""Baselines of a dataset. LINDA is left out, since it takes longer than all others."""
BEST, SEEDS = 3, (0, 1, 2)
"""The number of families that are trained with all seeds; the others have the first seed only."""
PATCHES: Mapping[str, Any] = {"kernel_size": 3, "patch_size": 4}
FAMILIES: dict[str, Mapping[str, Any]] = {
    "convrnn_forecaster": {"hidden_channels": [136, 136], **PATCHES},
    "convgru_forecaster": {"hidden_channels": [76, 76], **PATCHES},
    "convlstm_forecaster": {"hidden_channels": [66, 66], **PATCHES},
    "convpeepholelstm_forecaster": {"hidden_channels": [54, 54], **PATCHES},
    "convgru_pyramid": {"hidden_channels": [40, 112]},
    "convgru_ef": {"hidden_channels": [32, 64, 64], "kernel_size": 3},
    "convlstm_ef": {"hidden_channels": [32, 32, 64], "kernel_size": 3},
    "convlstm_openstl_s": {"hidden_channels": 62, "kernel_size": 3},
    "predrnn": {"hidden_channels": 42, "kernel_size": 3},
    "predrnn_pp": {"hidden_channels": 35, "kernel_size": 3},
    "predrnn_v2": {"hidden_channels": 42, "kernel_size": 3},
    "mim": {"hidden_channels": 32, "kernel_size": 3},
    "mau": {"hidden_channels": 36, "kernel_size": 3},
    "phydnet": {"hidden_channels": [68, 68, 36]},
    "e3d_lstm": {"hidden_channels": 20, "max_memories": 2},  # with all memories, a step takes 4 times as long
    "sa_convlstm": {"hidden_channels": 44},
    "motionrnn_predrnn": {"hidden_channels": 40, "kernel_size": 3},
    "convgru_advection": {"hidden_channels": [44, 92]},
}
"""Sizes of about a million parameters."""
RAIN_LOSSES = {"convgru_advection": "exceedance"}
"""Families that forecast rain only, each with the loss that it needs."""


def list_families(dataset: str) -> list[str]:
    """Returns the families that can forecast a dataset."""
    return [family for family in FAMILIES if dataset == "rain" or family not in RAIN_LOSSES]


Splits = Mapping[str, Any]
"""Sequences of frames by split: ``"train"``, ``"validation"`` and ``"test"``."""


def load(dataset: str, data: Path) -> Splits:
    """Reads the splits of a dataset from a directory."""
    recipe = Run(dataset, next(iter(FAMILIES)), RATES[0], SEQUENCES, SEEDS[0]).recipe()
    if dataset == "rain":
        return split_by_place(recipe, data)
    names = ("train", "validation", "test")
    return dict(zip(names, recipe.data.load_splits(data, names, recipe.inputs, recipe.horizon), strict=True))


def split_by_place(recipe: Any, data: Path) -> Splits:
    """Returns the splits of rain. The events are too short to divide once more, so the lowest maps validate."""
    train, test = recipe.data.load_splits(data, ["train", "test"], recipe.inputs, recipe.horizon)
    event, top = train.places[:, 0], train.places[:, 2]
    border = torch.stack([top[event == i].float().quantile(0.9) for i in range(len(train.files))])[event]
    upper, lower = (
        CroppedSequences(train.files, train.window, train.places[rows], flip)
        for rows, flip in ((top + train.window.height <= border, train.flip), (top >= border, False))
    )
    return {"train": upper, "validation": lower, "test": test}


class Run(NamedTuple):
    """One training: a family on a dataset with a learning rate, for a number of sequences."""

    dataset: str
    family: str
    rate: float
    sequences: int
    seed: int

    def recipe(self) -> Any:
        """Returns the recipe of the package for the dataset, with this network, budget and rate."""
        base: Any = Recipe.read(self.dataset)
        steps = self.sequences // BATCH
        is_complete = self.sequences == SEQUENCES  # a search is short
        return dataclasses.replace(
            base,
            weights=f"{self.family}.{self.dataset}",
            model=FAMILIES[self.family],
            batch_size=BATCH,
            loss=RAIN_LOSSES.get(self.family, base.loss),
            data=base.data if self.dataset == "rain" else dataclasses.replace(base.data, validation=0.1),
            lr=self.rate,
            max_steps=steps,
            seeds=(self.seed,),
            test_sequences=1,  # score() reads more
            checkpoint_every=-(-steps // 2) if is_complete else steps,
        )

    def train(self, splits: Splits, folder: Path) -> tuple[float, Any]:
        """Trains the network, or continues, and returns its validation loss and the network."""
        out = folder / f"{self.dataset}-{self.family}-{self.rate:g}-{self.sequences}-{self.seed}"
        if not (out / "metadata.json").exists():
            train(self.recipe(), data=splits, out=out, threads=torch.get_num_threads())
        elif Recipe.parse((out / "recipe.toml").read_text(encoding="utf-8")) != self.recipe():
            raise ValueError(f"{out} is the run of another recipe; remove it, or pass another --runs")
        with next(out.glob("training*.csv")).open(encoding="utf-8") as file:
            losses = [float(row["validation_loss"]) for row in csv.DictReader(file)]
        return losses[-1], convrnn_zoo.from_pretrained(f"local-dir:{out}")

    def score(self, model: Any, test: Any, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Returns the scores of a network on the test split, and those of the baselines, unless they are `known`.

        Errors are sums over the pixels of a frame where the dataset publishes sums.
        """
        recipe, sequences = self.recipe(), Recipe.read(self.dataset).test_sequences  # type: ignore[attr-defined]
        names = () if known else BASELINES[self.dataset]
        scores = evaluate(model.eval(), recipe, test, sequences, ensemble_size=0, baselines=names).scores
        metrics = make_metrics(scores, recipe.data, model.preprocessing)
        factor = {m.name: m.summed_over or 1 for m in metrics}
        baselines = {m.name: {b: v * factor[m.name] for b, v in m.baselines.items()} for m in metrics}
        return {"scores": {m.name: m.value * factor[m.name] for m in metrics}, "baselines": known or baselines}


def read() -> list[dict[str, Any]]:
    """Returns the rows that are complete."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return rows


def measure(dataset: str, family: str) -> dict[str, Any]:
    """Returns the parameters of a network, the seconds of a forecast, the bytes of 16 at once, and the machine."""
    torch.set_num_threads(1)
    recipe: Any = Run(dataset, family, RATES[0], SEQUENCES, 0).recipe()
    model: Any = convrnn_zoo.create_model(family, horizon=recipe.horizon, **FAMILIES[family]).eval()
    frames = torch.rand(16, recipe.inputs, 1, 64, 64)  # the memory of one forecast is too small to be measured

    def forecast(batch: int, inputs: int = recipe.inputs, horizon: int = recipe.horizon) -> float:
        start = time.process_time()
        with torch.no_grad():
            model(frames[:batch, :inputs], horizon=horizon)
        return time.process_time() - start

    forecast(1, 1, 1)  # the first use also loads libraries
    growth = rise(lambda: forecast(16))
    parameters = sum(p.numel() for p in model.parameters())
    seconds = statistics.median(forecast(1) for _ in range(5))
    return {"parameters": parameters, "seconds": seconds, "bytes": growth, "machine": machine("cpu")}


def climb(
    dataset: str, families: Sequence[str], splits: Splits, folder: Path, done: Mapping[tuple[str, int], Any]
) -> Iterator[dict[str, Any]]:
    """Trains families on a dataset, and yields a row for each family and seed; `done` are the rows of earlier calls.

    With some of the families only, the other seeds are left to a call with all of them. Only families that are trained
    with the same loss are compared, and so get other seeds.
    """

    def climb_one(family: str, seed: int, find_rate: Callable[[], float]) -> dict[str, Any]:
        if (family, seed) in done:
            return done[family, seed]
        rate = find_rate()
        run = Run(dataset, family, rate, SEQUENCES, seed)
        loss, model = run.train(splits, folder)
        known = next((row["baselines"] for row in [*done.values(), *rows]), None)
        return {
            "dataset": dataset,
            "family": family,
            "rate": rate,
            "seed": seed,
            "sequences": SEQUENCES,
            "validation_loss": loss,
            **in_a_fresh_process(measure, dataset, family),
            **run.score(model, splits["test"], known),
        }

    def search(family: str) -> float:
        short = SEQUENCES // 4
        losses = {rate: Run(dataset, family, rate, short, SEEDS[0]).train(splits, folder)[0] for rate in RATES}
        return min(losses, key=losses.__getitem__)

    rows: list[dict[str, Any]] = []
    for family in families:
        rows.append(climb_one(family, SEEDS[0], partial(search, family)))
        yield rows[-1]
    compared = [row for row in rows if row["family"] not in RAIN_LOSSES]
    complete = set(families) == set(list_families(dataset))
    for best in sorted(compared, key=lambda row: row["validation_loss"])[: BEST if complete else 0]:
        for seed in SEEDS[1:]:
            yield climb_one(best["family"], seed, lambda: best["rate"])  # noqa: B023 - called at once


@click.command(help=__doc__.split("\n\n", 1)[0])
@click.option("--dataset", type=click.Choice(list(SCORES)), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Directory of the data.")
@click.option("--family", "families", type=click.Choice(list(FAMILIES)), multiple=True, help="A family; default: all.")
@click.option("--runs", type=click.Path(path_type=Path), default="runs/ladder", help="Directory of the checkpoints.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads of torch.")
@click.option("--costs", is_flag=True, help="Measure time and memory of the rows again, on an idle machine.")
def main(dataset: str, data: Path, families: Sequence[str], runs: Path, threads: int, costs: bool) -> None:
    """Runs the program."""
    torch.set_num_threads(threads)
    done = {(row["family"], row["seed"]): row for row in read() if row["dataset"] == dataset}
    if costs:
        again = {name: in_a_fresh_process(measure, dataset, name) for name in families or {f for f, _ in done}}
        done = {key: row | again.get(key[0], {}) for key, row in done.items()}
    for row in climb(dataset, families or list_families(dataset), load(dataset, data), runs, done):
        rows = {(r["dataset"], r["family"], r["seed"]): r for r in read()}  # another process may have added some
        rows[dataset, row["family"], row["seed"]] = row
        with atomic_write(RESULTS) as file:
            file.write_text(json.dumps(list(rows.values()), indent=1) + "\n", encoding="utf-8")
        click.echo(f"{row['family']}, seed {row['seed']}: {SCORES[dataset]} {row['scores'][SCORES[dataset]]:.4g}")


if __name__ == "__main__":
    main()

"""Parts of a training that a user passes from Python: loss, metrics, optimizer, schedule, callbacks and iterables."""

import dataclasses
import re

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import convrnn_zoo
from convrnn_zoo.train import Trainer, train
from convrnn_zoo.train.custom import to_labelled
from tests.helpers.train.runs import same
from tests.helpers.train.tiny_recipes import PLAIN
from tests.train.test_loop import CLASSIFIER, ramps

FRAMES = torch.rand(8, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PARTS = {
    "forecaster": {"train": list(FRAMES[:4]), "validation": list(FRAMES[4:6]), "test": list(FRAMES[6:])},
    "classifier": {split: ramps(i) for i, split in enumerate(("train", "validation", "test"))},
}
RECIPES = {
    "classifier": dataclasses.replace(CLASSIFIER, epochs=2, lr=0.05),
    "forecaster": dataclasses.replace(
        PLAIN, data={"kind": "frames", "name": "noise"}, max_steps=4, checkpoint_every=2, lr=0.05
    ),
}
KINDS = pytest.mark.parametrize("kind", RECIPES)


def run(kind, out, **options):
    options = {"data": PARTS[kind], **options}
    return train(RECIPES[kind], out=out, progress=False, **options), convrnn_zoo.from_pretrained(out)


def rows_of(out, kind):
    lines = (out / ("training_seed0.csv" if kind == "classifier" else "training.csv")).read_text().splitlines()
    names, *rows = [line.split(",") for line in lines]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


@KINDS
def test_a_loss_replaces_that_of_the_recipe(kind, tmp_path):
    def loss(output, truth, *amount):
        shapes.add((output.shape == truth.shape, len(amount)))
        return 0 * output.sum() + 7

    shapes = set()
    run(kind, tmp_path / "a", loss=loss)
    assert {(r["loss"], r["validation_loss"]) for r in rows_of(tmp_path / "a", kind)} == {(7.0, 7.0)}
    assert shapes == ({(True, 1)} if kind == "forecaster" else {(False, 0)})
    mine, theirs = (run(kind, tmp_path / name, **o)[1] for name, o in (("b", {"loss": squared}), ("c", {})))
    assert not same(mine, theirs)


def squared(output, truth, *amount):
    if amount:
        return (output - truth).square().mean() * 3
    return (output.softmax(1) - F.one_hot(truth, output.shape[1])).square().sum(1).mean()


def error(forecast, truth):
    return (
        (forecast - truth).square().mean()
        if truth.is_floating_point()
        else (forecast.argmax(1) != truth).float().mean()
    )


@KINDS
def test_metrics_are_computed_on_the_validation_data(kind, tmp_path):
    _, model = run(kind, tmp_path, metrics={"size": lambda forecast, truth: len(forecast), "error": error})
    best = min(rows_of(tmp_path, kind), key=lambda row: row["validation_loss"])
    if kind == "classifier":
        assert best["validation_size"] == 24
        assert best["validation_error"] == pytest.approx(1 - best["validation_accuracy"], abs=1e-6)
        return
    expected = (model.forecast(FRAMES[4:6, :3], 3) - FRAMES[4:6, 3:]).square().mean()
    assert best["validation_size"] == 2
    assert best["validation_error"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_metrics_are_of_the_complete_split_and_do_not_change_each_other(batch_size, tmp_path):
    import torchmetrics  # here, since every worker collects this file

    class Count(torchmetrics.SumMetric):
        def update(self, forecast, truth):
            truth.fill_(9.0)  # a metric that changes its arguments
            super().update(float(len(forecast)))

    def rmse(forecast, truth):
        truth -= truth.nanmean()  # of its own copy
        return forecast.square().mean().sqrt()

    recipe = dataclasses.replace(RECIPES["forecaster"], batch_size=batch_size, max_steps=2)
    data = {**PARTS["forecaster"], "validation": list(FRAMES[3:8])}
    metrics = {"count": Count(), "rmse": rmse, "error": error, "mse": torchmetrics.MeanSquaredError()}
    train(recipe, data=data, out=tmp_path, progress=False, metrics=metrics)
    forecast = convrnn_zoo.from_pretrained(tmp_path).forecast(FRAMES[3:8, :3], 3)
    expected = (forecast - FRAMES[3:8, 3:]).square().mean().item()
    (row,) = rows_of(tmp_path, "forecaster")
    assert row["validation_count"] == 5
    assert row["validation_rmse"] == pytest.approx(forecast.square().mean().sqrt().item(), rel=1e-4)
    assert (row["validation_error"], row["validation_mse"]) == (pytest.approx(expected, rel=1e-4),) * 2


def test_a_loss_gets_frames_also_if_pixels_are_unknown(tmp_path):
    def loss(output, truth, amount):
        shapes.append((output.shape, truth.shape, amount.shape))
        assert all(x.isfinite().all() for x in (output, truth, amount))
        return (output - truth).square().mean()

    holes, shapes = FRAMES.clone(), []
    holes[:, :, :, 2:4] = torch.nan
    data = {"train": list(holes[:4]), "validation": list(holes[4:6]), "test": list(holes[6:])}
    run("forecaster", tmp_path / "a", loss=loss, data=data)
    assert {shape[2:] for each in shapes for shape in each} == {(1, 8, 8)}
    run("forecaster", tmp_path / "b", data=data)  # the recipe's mse has the same value and gradient
    mine, theirs = (rows_of(tmp_path / name, "forecaster") for name in "ab")
    assert [row["loss"] for row in mine] == pytest.approx([row["loss"] for row in theirs], rel=1e-5)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("loss", lambda output, truth, *amount: torch.tensor(1.0)),
        ("loss", lambda output, truth, *amount: output.detach().mean()),
        ("optimizer", lambda model: None),
        ("optimizer", lambda model: torch.optim.LBFGS(model.parameters())),
        ("schedule", lambda optimizer, steps: None),
        ("schedule", lambda optimizer, steps: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)),
    ],
)
@KINDS
def test_parts_that_training_cannot_use_are_errors(kind, part, value, tmp_path):
    with pytest.raises(TypeError, match=part):
        run(kind, tmp_path, **{part: value})


def test_a_resumed_run_with_other_metrics_writes_a_column_for_each(tmp_path):
    for max_steps, metrics in ((2, {"mae": error}), (4, {"bias": error, "size": lambda forecast, truth: 7})):
        recipe = dataclasses.replace(RECIPES["forecaster"], max_steps=max_steps)
        train(recipe, data=PARTS["forecaster"], out=tmp_path, progress=False, metrics=metrics)
    header, *lines = (line.split(",") for line in (tmp_path / "training.csv").read_text().splitlines())
    first, second = ({k: v for k, v in zip(header, line, strict=True) if v} for line in lines)
    assert first.keys() ^ second.keys() == {"validation_mae", "validation_bias", "validation_size"}
    assert second["validation_size"] == "7"


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("loss", "mse", "loss must be a function, got 'mse' (str); the recipe's loss takes a name"),
        ("optimizer", "adamw", "optimizer must be a function, got 'adamw' (str); the recipe's optimizer takes"),
        ("schedule", "cosine", "schedule must be a function, got 'cosine' (str); the recipe's schedule takes"),
        ("metrics", [error], "metrics must be a dictionary of functions by their names, got [<function error"),
        ("metrics", {"mae": "mae"}, "metrics must be a dictionary of functions by their names, got {'mae': 'mae'}"),
        ("callbacks", error, "callbacks must be a list of functions, got <function error"),
        ("callbacks", ["print"], "callbacks must be a list of functions, got ['print']"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_parts_of_another_type_are_errors(part, value, words, tmp_path):
    with pytest.raises(TypeError, match=re.escape(words)):
        run("forecaster", tmp_path, **{part: value})
    assert not (tmp_path / "model.safetensors").exists()


@KINDS
def test_an_optimizer_and_a_schedule_replace_those_of_the_recipe(kind, tmp_path):
    def optimizer(model):
        return torch.optim.SGD(model.parameters(), lr=0.25)

    def schedule(optimizer, max_steps):
        lengths.append(max_steps)
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    lengths = []
    run(kind, tmp_path, optimizer=optimizer, schedule=schedule)
    assert {row["learning_rate"] for row in rows_of(tmp_path, kind)} == {0.25}
    assert lengths == [12 if kind == "classifier" else 4]


@KINDS
def test_callbacks_receive_the_trainer_and_each_round_and_may_end_the_training(kind, tmp_path):
    seen = []

    def watch(trainer, row):
        seen.append((type(trainer), row["updates"], row["validation_loss"]))
        torch.rand(3)  # changes nothing

    model = run(kind, tmp_path / "a", callbacks=[watch])[1]
    assert [updates for _, updates, _ in seen] == ([6, 12] if kind == "classifier" else [2, 4])
    assert all(issubclass(cls, Trainer) for cls, _, _ in seen)
    assert same(run(kind, tmp_path / "b")[1], model)
    run(kind, tmp_path / "c", callbacks=[lambda trainer, row: None, lambda trainer, row: True])
    assert len(rows_of(tmp_path / "c", kind)) == 1


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"class_weights": [1.0, 2.0]}])
def test_a_custom_loss_rejects_options_of_the_recipes_loss(options, tmp_path):
    recipe = dataclasses.replace(RECIPES["classifier"], **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        train(recipe, data=PARTS["classifier"], out=tmp_path, loss=F.cross_entropy, progress=False)


# ---- data ------------------------------------------------------------------------------------------------------
@KINDS
@pytest.mark.parametrize(
    ("key", "hint"), [("val", "expected one of train, test, validation"), ("valdiation", "did you mean validation?")]
)
def test_a_key_of_data_that_is_no_split_is_an_error(kind, key, hint, tmp_path):
    with pytest.raises(ValueError, match=rf"data has the key '{key}', which is no split; {re.escape(hint)}"):
        run(kind, tmp_path, data={**PARTS[kind], key: PARTS[kind]["validation"]})


class Endless(IterableDataset):
    def __iter__(self):
        return iter(FRAMES[:4])


@pytest.mark.parametrize(
    "source",
    [Endless(), DataLoader(TensorDataset(FRAMES[:4]), batch_size=3), DataLoader(Endless(), batch_size=2)],
    ids=["IterableDataset", "DataLoader of pairs", "DataLoader of an IterableDataset"],
)
def test_a_forecaster_trains_on_an_iterable(source, tmp_path):
    data = {**PARTS["forecaster"], "train": source, "test": DataLoader(TensorDataset(FRAMES[6:]), batch_size=2)}
    weights, _ = run("forecaster", tmp_path, data=data)
    assert {"MSE", "MAE"} <= {m.name for m in weights.metrics}
    assert len(rows_of(tmp_path, "forecaster")) == 2


def test_worker_processes_of_the_recipe_are_not_for_iterables(tmp_path):
    recipe = dataclasses.replace(RECIPES["forecaster"], workers=1)
    with pytest.raises(ValueError, match=r"workers=1: an iterable reads its own batches"):
        train(recipe, data={**PARTS["forecaster"], "train": Endless()}, out=tmp_path, progress=False)


def pairs(split):
    data = ramps(split)
    return list(zip(data.sequences, data.labels.tolist(), strict=True))


def collate(items):
    xs, labels = zip(*items, strict=True)
    lengths = torch.tensor([len(x) for x in xs])
    return torch.nn.utils.rnn.pad_sequence(xs, batch_first=True), lengths, torch.tensor(labels)


def test_a_classifier_trains_on_pairs_and_on_batches(tmp_path):
    names = {"label_names": ("down", "up")}
    recipe = dataclasses.replace(RECIPES["classifier"], data={"kind": "sequences", "name": "ramps", **names})
    models = []
    for convert in (ramps, pairs, lambda s: DataLoader(pairs(s), batch_size=5, collate_fn=collate)):
        out = tmp_path / str(len(models))
        train(recipe, data={"train": convert(0), "test": convert(1)}, out=out, progress=False)
        models.append(convrnn_zoo.from_pretrained(out))
    assert same(models[0], models[1])
    assert same(models[0], models[2])


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ((torch.zeros(2, 2), 0.7), TypeError, "label"),
        ((torch.zeros(2, 2), "walk"), TypeError, "label"),
        (([[0.0], [0.0, 1.0]], 0), TypeError, "sequence"),
        ((torch.zeros(2, 3, 1), [4, 3], torch.zeros(2, dtype=torch.long)), ValueError, "from 1 to 3"),
        ((torch.zeros(2, 3, 1), torch.tensor([-1, 3]), torch.zeros(2, dtype=torch.long)), ValueError, "from 1 to 3"),
        ((torch.zeros(2, 3, 1), torch.zeros(1, dtype=torch.long)), ValueError, "2 labels"),
    ],
)
def test_wrong_labels_and_lengths_are_errors(item, error, message):
    with pytest.raises(error, match=rf"item 0 of data\['train'\].*{message}"):
        to_labelled([item], "train")

"""Resumed runs: what may change, checkpoints by time and signals, and generators."""

import dataclasses
import random
import signal
from itertools import product

import numpy as np
import pytest
import torch

from convrnn_zoo.data.datasets.labelled_sequences import LazySequences
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import forecaster, loop, train
from convrnn_zoo.train.launch import Processes
from convrnn_zoo.train.optim import SCHEDULES
from tests.helpers.data.own_data import FRAMES
from tests.helpers.registry import slow_unless
from tests.helpers.train import runs
from tests.helpers.train.runs import interrupted, same
from tests.helpers.train.tiny_recipes import PLAIN, TINY
from tests.train.test_loop import CLASSIFIER, ramps
from tests.train.test_loop_validation import ALL, moving

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def forecast(recipe, out=None, processes=None, validation=None):
    return runs.train_model(recipe, moving(), validation, out=out, progress=False, processes=processes)


def classify(recipe, path=None, train=None):
    return runs.train_one(recipe, 0, train or ramps(0), ramps(1), checkpoint=path, progress=False).model


# ---- signals and time ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, loop.Terminated)])
def test_a_signal_saves_all_updates_and_the_run_resumes_to_the_same_weights(number, error, tmp_path, monkeypatch):
    expected, history = forecast(ALL, validation=moving(1))
    compute_loss, calls = forecaster.ForecasterTrainer.compute_loss, []

    def send(self, part):
        calls.append(None)
        if len(calls) == 5:  # of the third update, of two parts each
            signal.raise_signal(number)
        return compute_loss(self, part)

    handlers = [signal.getsignal(n) for n in loop.STOPS]
    with monkeypatch.context() as patched:
        patched.setattr(forecaster.ForecasterTrainer, "compute_loss", send)
        with pytest.raises(error):
            forecast(ALL, tmp_path, validation=moving(1))
    assert [signal.getsignal(n) for n in loop.STOPS] == handlers
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["done"] == 1  # after a round of two
    torch.manual_seed(9)
    model, resumed = forecast(ALL, tmp_path, validation=moving(1))
    assert same(model, expected)
    assert resumed == history


def test_sigterm_has_the_exit_status_of_shells():
    assert issubclass(loop.Terminated, SystemExit)
    assert loop.Terminated().code == 143


@pytest.mark.parametrize("first", loop.STOPS)
def test_after_a_signal_only_ctrl_c_ends_at_once(first):  # a launcher passes on the SIGTERM that all processes received
    with loop.catch_signals() as received:
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)
        assert received() == first
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_outside_of_a_run_sigterm_raises_at_once_and_the_handler_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(loop.Terminated), loop.raise_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("minutes", "saves"), slow_unless((0.0, 6).__eq__, [(0.0, 6), (10.0, 2)]))
def test_checkpoints_are_written_by_time_within_a_round_and_change_no_weights(minutes, saves, tmp_path, monkeypatch):
    recipe = dataclasses.replace(TINY, checkpoint_every=5)
    expected, processes, written = forecast(recipe)[0], Processes(checkpoint_minutes=minutes), []
    save_checkpoint = loop.save_checkpoint

    def save(content, path):
        save_checkpoint(content, path)
        written.append(content["done"])

    monkeypatch.setattr(loop, "save_checkpoint", save)
    assert same(forecast(recipe, tmp_path / "whole", processes)[0], expected)
    assert len(written) == saves + (minutes == 0.0)  # the last of the round's is the round's own, after update 5
    assert max(written) == (5 if minutes == 0.0 else 0)
    if not minutes:  # killed between them
        interrupted(lambda: forecast(recipe, tmp_path / "killed", processes), saves=3)
        assert same(forecast(recipe, tmp_path / "killed")[0], expected)


@pytest.mark.slow
# ---- what may change -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("recipe", [TINY, CLASSIFIER], ids=["forecaster", "classifier"])
def test_the_number_of_workers_changes_no_weights_and_may_change(recipe, tmp_path):
    is_forecaster = recipe is TINY

    def run(workers, out=None):
        changed = dataclasses.replace(recipe, workers=workers)
        return forecast(changed, out)[0] if is_forecaster else classify(changed, out and out / "seed0.ckpt")

    expected = run(0)
    assert same(run(2), expected)
    interrupted(lambda: run(2, tmp_path), saves=1)
    assert same(run(0, tmp_path), expected)


RAIN = {"kind": "frames", "name": "rain", "unit": "mm/h", "step": 5}


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_thresholds_may_change_unless_they_select_crops(fraction):
    first, second = (
        dataclasses.replace(PLAIN, data={**RAIN, "thresholds": list(t), "min_wet_fraction": fraction}).fingerprint()
        for t in ((1.0, 2.0), (1.0, 4.0))
    )
    assert (first == second) == (fraction == 0)


@pytest.mark.parametrize(
    ("schedule", "done"), slow_unless([("one_cycle", 6), ("cosine", 3)].__contains__, product(SCHEDULES, (3, 6)))
)
def test_a_forecasters_run_is_prolonged_along_the_new_schedule(schedule, done, tmp_path, caplog):
    recipe = dataclasses.replace(PLAIN, schedule=schedule, max_steps=6, checkpoint_every=3)
    if done == 6:
        forecast(recipe, tmp_path)
    else:
        interrupted(lambda: forecast(recipe, tmp_path), saves=1)
    longer = dataclasses.replace(recipe, max_steps=12)
    model, history = forecast(longer, tmp_path)
    assert "max_steps (6 there, 12 here)" in caplog.text
    _, expected = forecast(longer)
    rates = [[row["learning_rate"] for row in rows] for rows in (history, expected)]
    assert rates[0][done // 3 :] == pytest.approx(rates[1][done // 3 :])
    assert [row["updates"] for row in history] == [3, 6, 9, 12]
    again, _ = forecast(longer, tmp_path)
    assert same(again, model)
    with pytest.raises(ValueError, match=r"12 updates.* 6"):
        forecast(recipe, tmp_path)


@pytest.mark.parametrize("fields", [{"max_steps": 12}, {"cycles": (4, 4)}])
def test_the_first_update_after_a_change_has_the_rate_of_the_new_schedule(fields, tmp_path):
    recipe = dataclasses.replace(PLAIN, max_steps=8, checkpoint_every=4)
    interrupted(lambda: forecast(recipe, tmp_path), saves=1)
    changed = dataclasses.replace(recipe, **fields)
    trainer = forecaster.ForecasterTrainer(changed, moving(), checkpoint=tmp_path / "last.ckpt")
    trainer.restore()
    unchanged, fresh = (forecaster.ForecasterTrainer(r, moving()) for r in (recipe, changed))
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    for other, is_same in ((fresh, True), (unchanged, False)):
        other.advance(4)
        assert ([group["lr"] for group in other.optimizer.param_groups] == rates) == is_same
    assert trainer.updates == 4
    assert len(trainer.optimizer.state) > 0


def test_seeds_are_added_to_a_finished_run_and_the_first_one_stays(tmp_path):
    data, seeds = {"train": ramps(0), "test": ramps(1)}, dataclasses.replace(CLASSIFIER, seeds=(0, 1))
    first = train(CLASSIFIER, data=data, out=tmp_path, progress=False)
    times = (tmp_path / "seed0.ckpt").stat().st_mtime_ns
    second = train(seeds, data=data, out=tmp_path, progress=False)
    assert (tmp_path / "seed0.ckpt").stat().st_mtime_ns == times
    assert second.sha256 == first.sha256
    assert second.metrics[0].runs == 2
    with pytest.raises(ValueError, match=r"recipe\.toml is another recipe"):
        train(dataclasses.replace(seeds, seeds=(1, 0)), data=data, out=tmp_path, progress=False)


@pytest.mark.slow
def test_a_run_that_stopped_early_goes_on_with_more_patience(tmp_path):
    recipe = dataclasses.replace(PLAIN, lr=10.0, patience=1, max_steps=12)  # gets worse
    lengths = []
    for patience in (1, 2):
        changed = dataclasses.replace(recipe, patience=patience)
        _, history = runs.train_model(changed, moving(), moving(1), out=tmp_path, progress=False)
        lengths.append(len(history))
    assert lengths[0] < lengths[1] < 6


def test_a_command_prolongs_a_finished_run_and_its_recipe_is_replaced(radar, tmp_path):
    recipe = Recipe.parse(FRAMES)
    first = train(recipe, data=radar, out=tmp_path / "run", progress=False)
    longer = dataclasses.replace(recipe, max_steps=2 * recipe.max_steps)
    tmp_path = (tmp_path / "run").rename(tmp_path / "moved")
    second = train(longer, data=radar, out=tmp_path, progress=False)
    assert first.sha256 != second.sha256
    assert Recipe.read(tmp_path / "recipe.toml") == longer
    card = (tmp_path / "README.md").read_text()
    assert second.sha256 in card
    assert f"{second.metrics[0].value:.4g}" in card
    for file in tmp_path.glob("*.ckpt"):
        file.unlink()
    with pytest.raises(ValueError, match=r"recipe\.toml is another recipe"):  # nothing could be continued
        train(recipe, data=radar, out=tmp_path, progress=False)


@pytest.mark.parametrize("fields", [{"batch_size": 1, "grad_accum_steps": 4}, {"batch_size": 4}])
def test_batches_may_be_divided_otherwise(fields, tmp_path):
    recipe = dataclasses.replace(PLAIN, batch_size=2, grad_accum_steps=2, max_steps=4)
    _, expected = forecast(recipe)
    interrupted(lambda: forecast(recipe, tmp_path), saves=1)
    changed = dataclasses.replace(recipe, **{"grad_accum_steps": 1, **fields})
    _, history = forecast(changed, tmp_path)
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in expected], rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"batch_size": 4}, r"batch_size·grad_accum_steps·processes \(2 there, 4 here\)"),
        ({"lr": 0.02}, "lr"),
        ({"seeds": (1,)}, r"\bseeds\b"),
        ({"checkpoint_every": 3, "max_steps": 8}, "checkpoint_every"),
    ],
)
def test_other_changes_are_rejected_with_what_may_change(fields, name, tmp_path):
    interrupted(lambda: forecast(PLAIN, tmp_path), saves=1)
    with pytest.raises(ValueError, match=rf"last\.ckpt.*{name}.*max_steps, epochs.*workers.*batch_size") as error:
        forecast(dataclasses.replace(PLAIN, **fields), tmp_path)
    assert "max_steps (6" not in str(error.value)


# ---- generators, threads and size ------------------------------------------------------------------------------
def jitter(x):
    return x * (1 + 0.1 * np.random.rand() + 0.1 * random.random())


def noisy():
    data = ramps(0)
    return data._replace(sequences=LazySequences(data.sequences, jitter))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_generators_of_numpy_and_python_are_seeded_and_resumed(workers, tmp_path):
    recipe = dataclasses.replace(CLASSIFIER, workers=workers)
    results = []
    for seed in (1, 2):
        np.random.seed(seed)
        random.seed(seed)
        path = tmp_path / f"{seed}.ckpt"
        if seed == 2:
            interrupted(lambda path=path: classify(recipe, path, noisy()), saves=1)
            np.random.seed(7)
        results.append(classify(recipe, path, noisy()))
    assert same(*results)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [None, 2])
def test_a_resumed_run_keeps_its_number_of_threads_unless_one_is_chosen(chosen, tmp_path, monkeypatch):
    recipe = dataclasses.replace(PLAIN, max_steps=4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        interrupted(lambda: forecast(recipe, tmp_path), saves=1)
        torch.set_num_threads(2)
        forecast(recipe, tmp_path, Processes(threads=chosen))
        assert torch.get_num_threads() == (chosen or 1)
    finally:
        torch.set_num_threads(before)

"""One of two processes that train together, each with a directory of its own as on machines without a shared disk.

``python two_machines.py DIRECTORY`` writes what the process saw to ``DIRECTORY/seen.json``; test_two_machines.py starts
two and compares.
"""

import contextlib
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import torch

from convrnn_zoo.models import EnsembleForecaster
from convrnn_zoo.train import classifier, forecaster, train
from convrnn_zoo.train.launch import launch
from tests.helpers.train import runs
from tests.helpers.train.small_figures import write_small_figures
from tests.helpers.train.tiny_recipes import PLAIN, TINY
from tests.train import test_classifier_scores as scores
from tests.train.test_loop import CLASSIFIER, pressing_ctrl_c, ramps
from tests.train.test_loop_validation import moving

ENSEMBLE = dataclasses.replace(
    PLAIN,
    weights="convgru_irene.tiny",
    loss="crps",
    ensemble_size=2,
    model={"num_blocks": 2},
    ema=0.9,
    grad_accum_steps=2,
    checkpoint_every=3,
    validation_sequences=3,
)
NOISY = dataclasses.replace(CLASSIFIER, workers=1, patience=20, epochs=3, batch_size=3)
SCORED = dataclasses.replace(scores.RECIPE, class_weights=(1.0, 9.0), grad_accum_steps=2, batch_size=3)
ADAPTED = dataclasses.replace(TINY, decoupling=0.0, sampling={}, max_steps=3)
"""PredRNN v2, whose adapter has no gradient without the decoupling loss."""
DECIDED = dataclasses.replace(CLASSIFIER, patience=2, epochs=8)


def digest(model):
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()


def main(directory):
    seen = {}
    with launch() as processes:
        options = {"progress": False, "processes": processes}
        rank = processes.rank

        def forecast(out, recipe=ENSEMBLE, train=None):
            clips = moving() if train is None else train
            return digest(runs.train_model(recipe, clips, moving(1), out=directory / out, **options)[0])

        def classify(out, recipe=NOISY):
            splits, checkpoint = (ramps(0), ramps(1), ramps(2)), directory / out / "seed0.ckpt"
            return digest(runs.train_one(recipe, 0, *splits, checkpoint=checkpoint, **options).model)

        # Noise of the processes, of an uninterrupted run, and of a run that rank 1 interrupts within a round.
        reduced, compute_loss = [], forecaster.ForecasterTrainer.compute_loss

        def watch(self, part):
            reduced.append(self.network.require_backward_grad_sync)
            return compute_loss(self, part)

        forecaster.ForecasterTrainer.compute_loss = watch
        noise, draw_noise = [], EnsembleForecaster.draw_noise
        EnsembleForecaster.draw_noise = lambda self, *args: noise.append(draw_noise(self, *args)) or noise[-1]
        seen["forecaster"] = forecast("whole")
        seen["reduced"], forecaster.ForecasterTrainer.compute_loss = list(reduced), compute_loss
        seen["noise"] = [x.double().sum().item() for x in noise]
        noise.clear()
        with interrupting(rank, forecaster.ForecasterTrainer, "compute_loss", 9):
            forecast("resumed")
        before = len(noise)
        if rank:  # files of one process decide nothing
            (directory / "resumed").mkdir(exist_ok=True)
            (directory / "resumed" / "last.ckpt").write_bytes(b"damaged")
            (directory / "resumed" / "recipe.toml").write_text("another")
        torch.manual_seed(rank)
        seen["resumed_forecaster"] = forecast("resumed")
        seen["resumed_noise"] = [x.double().sum().item() for x in noise]
        seen["updates_before"] = before
        EnsembleForecaster.draw_noise = draw_noise

        seen["adapted"] = forecast("adapted", ADAPTED)
        seen["classifier"] = classify("whole")
        with interrupting(rank, classifier.F, "cross_entropy", 6):
            classify("resumed")
        torch.manual_seed(rank)
        seen["resumed_classifier"] = classify("resumed")

        # The processes compute validation losses that differ in the last digit.
        class Differing(classifier.ClassifierTrainer):
            def validate(self, model):
                falls = 2e-7 * len(self.history) * (rank == 0)
                return {**super().validate(model), "loss": 1 - falls}

        trainer = Differing(DECIDED, 0, ramps(0), ramps(2), **options)
        seen["epochs"] = len(trainer.fit())
        seen["best"] = digest(trainer.model)

        for name, run in {
            "damaged": lambda: forecast("damaged"),
            "data": lambda: forecast("data", train=moving(5 * rank)),
        }.items():
            if not rank and name == "damaged":
                (directory / "damaged").mkdir()
                (directory / "damaged" / "last.ckpt").write_bytes(b"damaged")
            try:
                run()
            except ValueError as e:
                seen[f"{name}_error"] = str(e)

        # A run of one process with batches twice as large goes on in two.
        if not rank:
            one = dataclasses.replace(PLAIN, batch_size=4)
            with interrupting(True, forecaster.ForecasterTrainer, "compute_loss", 4):
                runs.train_model(one, moving(), moving(1), out=directory / "one", progress=False)
        model, history = runs.train_model(PLAIN, moving(), moving(1), out=directory / "one", **options)
        seen["losses"], seen["prolonged"] = [row["loss"] for row in history], digest(model)
        files = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
        seen["files"] = files
    data = {"train": scores.noise(), "test": scores.noise(seed=1)}
    train(SCORED, data=data, out=directory / "scores", progress=False)
    (directory / "seen.json").write_text(json.dumps(seen))


@contextlib.contextmanager
def interrupting(pressed, owner, name, call):
    """Context in which a process is interrupted in a call of a function, if `pressed`, and the others with it."""
    function = getattr(owner, name)
    setattr(owner, name, pressing_ctrl_c(function, call) if pressed else function)
    try:
        yield
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("not interrupted")
    finally:
        setattr(owner, name, function)


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_small_figures()
    main(Path(sys.argv[1]))

"""Runs that are killed at random moments, with workers, averaged weights and accumulated gradients."""

import dataclasses
import multiprocessing
import random
import time

import pytest
import torch

from tests.helpers.train import runs
from tests.helpers.train.runs import same
from tests.train.test_loop import CLASSIFIER, ramps
from tests.train.test_loop_validation import ALL, moving

KILLS = 10
FORECASTER = dataclasses.replace(ALL, workers=2, max_steps=12, checkpoint_every=4)
SEQUENCES = dataclasses.replace(
    CLASSIFIER, workers=2, ema=0.9, grad_accum_steps=2, patience=30, epochs=5, bucket_batches=2
)


def train_forecaster(directory):
    return runs.train_model(FORECASTER, moving(), moving(1), out=directory, progress=False)[0]


def train_classifier(directory):
    checkpoint, parts = directory / "seed0.ckpt", (ramps(0), ramps(1), ramps(2))
    return runs.train_one(SEQUENCES, 0, *parts, checkpoint=checkpoint, progress=False).model


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("train", [train_forecaster, train_classifier])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_every_killed_run_ends_with_the_bits_of_the_uninterrupted_one(train, tmp_path):
    start = time.perf_counter()
    expected = train(tmp_path / "whole")
    duration, random_moments = time.perf_counter() - start, random.Random(0)
    context, has_checkpoint = multiprocessing.get_context("fork"), []
    for i in range(KILLS):
        while True:  # until the run was killed before its end
            directory = tmp_path / str(len(list(tmp_path.iterdir())))
            process = context.Process(target=train, args=(directory,))
            process.start()
            process.join(random_moments.uniform(0.1, 1.0) * duration)
            if process.exitcode is None:
                break
            process.join()
        process.kill()
        process.join()
        has_checkpoint.append(directory.is_dir() and any(directory.glob("*.ckpt")))
        torch.manual_seed(i)
        assert same(train(directory), expected)
    assert sum(has_checkpoint) >= KILLS // 3  # with a checkpoint to resume from

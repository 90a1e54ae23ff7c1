"""Helpers for tests of training: comparison of models, and interrupted runs."""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from convrnn_zoo.train import classifier, forecaster, loop
from tests.helpers.device import ON_HOST


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def train_one(recipe, seed, train, test=None, validation=None, **options):
    """Returns the trainer of a classifier after training."""
    trainer = classifier.ClassifierTrainer(recipe, seed, train, validation, **options)
    trainer.fit()
    return trainer


def train_model(recipe, clips, validation=None, out=None, **options):
    """Returns a trained forecaster and its history."""
    checkpoint = out and out / "last.ckpt"
    trainer = forecaster.ForecasterTrainer(recipe, clips, validation, checkpoint=checkpoint, **options)
    return trainer.model, trainer.fit()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def interrupted(run, saves):
    """Calls `run` and interrupts it right after it wrote so many checkpoints."""
    left = [saves]

    def save_and_interrupt(content, path, save=loop.save_checkpoint):
        save(content, path)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "save_checkpoint", save_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run()


def killed(command, checkpoint):
    """Starts `command` and kills it as soon as its first checkpoint is there."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_together(*arguments):
    """Runs Python once with each of several lists of arguments, as processes that train together.

    If one fails, the others are ended. They are waited for without a limit of time, since pytest has one.
    """
    group = {"WORLD_SIZE": str(len(arguments)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group |= {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "OMP_NUM_THREADS": "1"}
    group |= {"CUDA_VISIBLE_DEVICES": ""} if ON_HOST else {}
    environment = {**os.environ, **group, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile("w+") as errors:  # a pipe could fill up
        processes = [
            subprocess.Popen([sys.executable, *map(str, args)], env={**environment, "RANK": str(rank)}, stderr=errors)
            for rank, args in enumerate(arguments)
        ]
        try:
            while None in (codes := [process.poll() for process in processes]) and not any(codes):
                time.sleep(0.1)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        errors.seek(0)
        assert not any(codes), errors.read()


LAUNCHERS = {
    "torch.distributed.run": ["--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port={port}"],
    "accelerate.commands.launch": [
        "--multi_gpu",
        "--num_processes=2",
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        "--main_process_port={port}",
    ],
}

"""Helpers for tests of training: comparison of models, and interrupted runs."""

import hashlib
import socket
import subprocess
import time

import pytest
import torch

from convrnn_zoo.train import loop


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


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


LAUNCHERS = {
    "torch.distributed.run": ["--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port={port}"],
    "accelerate.commands.launch": [
        "--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no",
        "--main_process_port={port}",
    ],
}  # fmt: skip

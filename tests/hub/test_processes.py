"""Several processes at once, and processes that are killed: the next run succeeds, and nothing broken is used."""

import random
import signal
import subprocess
import sys
import time

import pytest

from convrnn_zoo import WeightsError, from_pretrained, save_pretrained
from tests.helpers.hub.examples import assert_same, make
from tests.helpers.hub.faults import Slow
from tests.helpers.hub.loaders import BIG
from tests.hub.conftest import tree

PULL = "import convrnn_zoo; print('ready', flush=True); convrnn_zoo.from_pretrained('alice/model')"


@pytest.fixture
def start(environment):
    """Starts a Python process that prints a line when it is ready."""
    running = []

    def run(code, *args):
        process = subprocess.Popen([sys.executable, "-c", code, *args], env=environment, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.needs("signals")
@pytest.mark.slow
def test_killed_in_mid_download(hub, repo, start, cache):
    hub.fail(Slow(20.0), "GET", "/[0-9a-f]{64}", times=1)
    process = start(PULL)
    wait_for(lambda: list(cache.rglob("*.incomplete")) and hub.asked("/")[-1][0] == "GET")
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not list(cache.rglob("snapshots/*/model.safetensors"))
    assert_same(make(**BIG), from_pretrained("alice/model"))
    assert repo.files()["model.safetensors"] in tree(cache).values()


SAVE = """
import sys, convrnn_zoo
models = [
    convrnn_zoo.create_model("convlstm1d_bi_1layer", in_chans=2, num_classes=n, hidden_channels=40) for n in (3, 4)
]
print("ready", flush=True)
while True:
    for model in models:
        convrnn_zoo.save_pretrained(model, sys.argv[1])
"""


@pytest.mark.needs("signals")
@pytest.mark.slow
def test_killed_in_mid_save(start, tmp_path):
    """Two models are saved to one directory in turn until the process is killed; one of them loads, or none."""
    chance = random.Random(0)
    for turn in range(40):
        directory = tmp_path / str(turn)
        process = start(SAVE, str(directory))
        wait_for(lambda there=directory / "config.json": there.exists())
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        try:
            outcome = str(from_pretrained(directory).num_classes)
        except WeightsError as e:
            outcome = str(e)  # killed between the two files: the config is not of these weights
        assert outcome in ("3", "4") or "sha256 is " in outcome
        model = make(**BIG)
        save_pretrained(model, directory)
        assert_same(model, from_pretrained(directory))

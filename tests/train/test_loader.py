"""Batches come in the order of their requests, and do not depend on who reads them."""

import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import random
import signal
from functools import partial

import numpy as np
import pytest
import torch

from convrnn_zoo.data.datasets.labelled_sequences import LazySequences
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import classifier
from convrnn_zoo.train.forecaster import load_sequences
from convrnn_zoo.train.launch import Processes
from convrnn_zoo.train.loader import BatchLoader
from tests.helpers.data.own_data import FRAMES
from tests.train.test_loop import CLASSIFIER, ramps

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def read(base, request):
    """Returns rows of an array, random numbers of three generators, and the process that read them."""
    return base[request], torch.rand(2), torch.tensor([np.random.rand(), random.random()]), os.getpid()


def requests(n):
    generator = torch.Generator().manual_seed(3)
    return (torch.randint(10, (2,), generator=generator) for _ in range(n))


def rounds(workers, rank=0):
    """Reads two rounds of 5 and 3 batches."""
    loader = BatchLoader(partial(read, torch.arange(10)), Processes(rank=rank), workers=workers, seed=7)
    return [list(loader.load(requests(5), 0)), list(loader.load(requests(3), 5))]


def equal(batches, others):
    pairs = zip(batches, others, strict=True)
    return all(torch.equal(x, y) for a, b in pairs for x, y in zip(a[:3], b[:3], strict=True))


@pytest.mark.slow
def test_batches_do_not_depend_on_the_number_of_workers_which_live_for_all_rounds():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    expected = rounds(0)
    assert all(torch.equal(batch[0], request) for batch, request in zip(expected[0], requests(5), strict=True))
    assert len({batch[1][0].item() for part in expected for batch in part}) == 8
    for workers in (1, 2):
        actual = rounds(workers)
        assert all(map(equal, actual, expected))
        readers = [{batch[3] for batch in part} for part in actual]
        assert readers[1] <= readers[0]
        assert len(readers[0]) == workers
        assert os.getpid() not in readers[0]
    assert torch.equal(torch.get_rng_state(), state)  # of the main process, which read the first batches


def test_workers_end_with_training():
    loader = BatchLoader(partial(read, torch.arange(10)), Processes(), workers=1, seed=7)
    with loader:
        readers = {batch[3] for batch in loader.load(requests(5), 0)}
    assert not readers & {process.pid for process in multiprocessing.active_children()}
    assert equal(list(loader.load(requests(5), 0)), rounds(0)[0])


def test_processes_have_random_numbers_of_their_own():
    first, second = rounds(0, rank=0)[0], rounds(0, rank=1)[0]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a[0], b[0])
        assert not torch.isin(a[1], b[1]).any()
        assert not torch.isin(a[2], b[2]).any()


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_batches_are_not_read_and_change_no_later_batch(workers):
    numbers = []

    def note(request):
        numbers.append(request)
        return read(torch.arange(10), request)

    reader = partial(read, torch.arange(10)) if workers else note
    loader = BatchLoader(reader, Processes(), workers=workers, seed=7)
    assert equal(list(loader.load(requests(5), 0, skip=3)), rounds(0)[0][3:])
    assert len(numbers) == (0 if workers else 2)


def test_an_error_of_a_worker_is_raised_here():
    loader = BatchLoader(partial(read, torch.arange(2)), Processes(), workers=1)
    with pytest.raises(IndexError):
        list(loader.load([torch.tensor([5])], 0))


@pytest.mark.parametrize("is_training", [True, False])
def test_workers_survive_a_signal_to_all_processes_while_a_run_is_saved_and_no_longer(is_training):
    loader = BatchLoader(partial(read, torch.arange(10)), Processes(), workers=1)
    with loader:
        batches = loader.load(requests(5), 0)
        worker = next(batches)[3]
        if is_training:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(worker, number)
            assert len(list(batches)) == 4
    if not is_training:
        (process,) = [p for p in multiprocessing.active_children() if p.pid == worker]
        with contextlib.suppress(RuntimeError):  # of torch, at whatever moment it sees that the worker has ended
            process.terminate()
            process.join(20)
        process.join(20)
        assert process.exitcode == 128 + signal.SIGTERM


def test_frames_of_files_are_pickled_as_what_opens_them(radar):
    [clips] = load_sequences(Recipe.parse(FRAMES), radar, ["train"])
    stored = pickle.dumps(BatchLoader(partial(read_frames, clips), Processes()).data_loader.dataset)
    assert len(stored) < 4000 < clips.files[0].array.nbytes
    numbers = torch.tensor([0, 3])
    expected = clips.read(numbers)
    torch.testing.assert_close(pickle.loads(stored).read(numbers), expected, rtol=0, atol=0, equal_nan=True)


def read_frames(clips, numbers):
    return clips.read(numbers)


@pytest.mark.parametrize("workers", [0, 1])
def test_recordings_in_memory_are_passed_to_workers_as_one_tensor(workers):
    data, recipe = ramps(0), dataclasses.replace(CLASSIFIER, workers=workers)
    stored = classifier.ClassifierTrainer(recipe, 0, data, progress=False).loader.data_loader.dataset.read.args[0]
    assert isinstance(stored.sequences, LazySequences if workers else list)
    assert len(stored.sequences) == 24
    for i in (0, 7, 23, -1):
        assert torch.equal(stored.sequences[i], data.sequences[i])
    assert len(stored.sequences[2:5]) == 3
    with pytest.raises(IndexError):
        stored.sequences[24]
    assert all(map(torch.equal, stored.sequences, data.sequences))


@pytest.mark.slow
def test_workers_start_by_forkserver_and_read_the_same():
    expected = rounds(0)
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)
    try:
        assert all(map(equal, rounds(1), expected))
    finally:
        multiprocessing.set_start_method(method, force=True)

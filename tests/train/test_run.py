"""Datasets from Python: arrays, dtypes, sizes, and errors that name the sequence."""

import dataclasses
import random

import numpy as np
import pytest
import torch

from convrnn_zoo.train import train
from tests.helpers.registry import slow_unless
from tests.helpers.train.runs import sha256
from tests.helpers.train.tiny_recipes import PLAIN

SHORT = dataclasses.replace(PLAIN, max_steps=2)  # one round


def sequences(count=4, seed=0):
    return torch.rand(count, 6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained(convert, out):
    data = {split: convert(sequences(seed=i)) for i, split in enumerate(("train", "test"))}
    metadata = train(SHORT, data=data, out=out, progress=False)
    return sha256(out / "model.safetensors"), [m.value for m in metadata.metrics]


class Indexed(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


FORMS = {
    "a list of float64 tensors": lambda x: list(x.double()),
    "a list of NumPy arrays": lambda x: list(x.numpy()),
    "a NumPy array of float64": lambda x: x.double().numpy(),
    "a masked array": lambda x: np.ma.array(x.numpy(), mask=np.zeros(x.shape, bool)),
    "a tensor": lambda x: x,
    "big-endian arrays": lambda x: [a.astype(">f4") for a in x.numpy()],
    "a Dataset": lambda x: Indexed(list(x.numpy())),
    "flipped arrays": lambda x: [a[::-1] for a in x.numpy()[:, ::-1].copy()],
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return trained(list, tmp_path_factory.mktemp("expected"))


DEFAULT = ("a list of float64 tensors", "a masked array", "a tensor", "big-endian arrays", "a Dataset")


@pytest.mark.parametrize("form", slow_unless(DEFAULT.__contains__, FORMS))
def test_every_form_of_the_same_frames_gives_the_same_weights(form, expected, tmp_path):
    assert trained(FORMS[form], tmp_path) == expected


GOOD = list(sequences())
BAD = {
    "another size": ({"train": [*GOOD, torch.rand(6, 1, 8, 12)], "test": GOOD}, r"train.*\[4\]"),
    "another length": ({"train": [*GOOD, torch.rand(5, 1, 8, 8)], "test": GOOD}, r"train.*\[4\]"),
    "length of the recipe": ({"train": GOOD, "test": [torch.rand(5, 1, 8, 8)]}, "test.*5"),
    "another number of axes": ({"train": [torch.rand(6, 8, 8)], "test": GOOD}, r"train.*\[0\].*\(6, 8, 8\)"),
    "no test": ({"train": GOOD}, "'test'"),
    "an empty split": ({"train": [], "test": GOOD}, "train"),
    "a generator": ({"train": iter(GOOD), "test": GOOD}, "train"),
    "a list": (GOOD, "'train'"),
    "strings": ({"train": ["a.npy"], "test": GOOD}, r"train.*\[0\]"),
    "bytes": ({"train": [torch.zeros(6, 1, 8, 8, dtype=torch.uint8)], "test": GOOD}, r"train.*\[0\].*255"),
    "complex": ({"train": [torch.zeros(6, 1, 8, 8, dtype=torch.cfloat)], "test": GOOD}, r"train.*\[0\]"),
    "channels of the splits": ({"train": GOOD, "test": [torch.rand(6, 2, 8, 8)]}, "channels"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_data_is_rejected_with_its_split_and_its_number(case, tmp_path):
    data, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        train(PLAIN, data=data, out=tmp_path / "run", progress=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_process_is_afterwards_as_before(tmp_path):
    def state():
        numbers = torch.get_rng_state(), np.random.get_state()[1], random.getstate()[1]
        return [list(n) for n in numbers], torch.get_num_threads()

    before = state()
    train(SHORT, data={"train": sequences(), "test": sequences()}, out=tmp_path, threads=2, progress=False)
    assert state() == before


def test_paths_may_be_strings(tmp_path, digits):
    train(SHORT, data=str(digits), out=str(tmp_path / "run"), progress=False)
    assert (tmp_path / "run" / "model.safetensors").is_file()

"""Clips of moving digits match their labels, and only the order of frames determines the direction."""

import struct

import numpy as np
import pytest
import torch

from convrnn_zoo.data.datasets.moving_mnist import DIRECTIONS, FILES, LABEL_FILES, LENGTHS, DigitMotion
from tests.helpers.made_data import write_idx

COUNTS = {"train": 80, "test": 40}


def write_labels(path, labels):
    path.write_bytes(struct.pack(">2I", 0x801, len(labels)) + bytes(labels))


def write_squares(directory):
    """Writes squares, whose brightness depends on their digit and number; one digit has fewer than the others."""
    for part, name in FILES.items():
        labels = [i % 10 for i in range(COUNTS[part] + 9)]
        brightness = [20 * digit + 1 + i // 10 for i, digit in enumerate(labels)]
        images = np.zeros((len(labels), 28, 28))
        images[:, 5:23, 8:20] = np.array(brightness)[:, None, None]
        write_idx(directory / name, images)
        write_labels(directory / LABEL_FILES[part], labels)


@pytest.fixture
def mnist(tmp_path):
    write_squares(tmp_path)
    return tmp_path


def corner(frame):
    """Row and column of the first bright pixel."""
    return [int((frame.amax(axis) > 0).int().argmax()) for axis in (1, 0)]


def find_middles(clips):
    """Row and column of the digit in the middle frame of every clip."""
    return [corner(clip[len(clip) // 2][0]) for clip in clips]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_clip_is_a_digit_that_moves_as_its_label_states(mnist, split):
    data = DigitMotion().load(mnist, split)
    assert torch.bincount(data.labels).tolist() == [COUNTS[split] // 40] * 40  # of 9 zeros, 8
    assert {len(x) for x in data.sequences} == set(LENGTHS)
    for clip, label in zip(data.sequences, data.labels, strict=True):
        digit, direction = data.label_names[label].split()
        assert clip.shape[1:] == (1, 16, 16)
        assert round(float(clip.max()) * 255) // 20 == int(digit)
        assert (clip > 0).sum((1, 2, 3)).unique().tolist() == [6 * 4]  # 18×12 pixels at a third of the size
        places = torch.tensor([corner(frame[0]) for frame in clip])
        assert (places.diff(dim=0) == torch.tensor(DIRECTIONS[direction])).all()


def test_the_middle_frame_is_placed_alike_whatever_the_direction(mnist):
    middles = torch.tensor(find_middles(DigitMotion().load(mnist, "train").sequences))
    assert middles.amin(0).tolist() == [3 + 1, 3 + 2]  # rows and columns of the square within its digit
    assert middles.amax(0).tolist() == [5 + 1, 5 + 2]


def test_the_clips_of_a_split_are_always_the_same(mnist):
    first, again, other = (DigitMotion().load(mnist, s) for s in ("test", "test", "train"))
    assert all(torch.equal(a, b) for a, b in zip(first.sequences, again.sequences, strict=True))
    assert [len(x) for x in first.sequences[3:5]] == [len(first.sequences[i]) for i in (3, 4)]
    assert find_middles(first.sequences) != find_middles(other.sequences)[: len(first.labels)]


def test_validation_clips_are_a_part_of_every_class_that_training_lacks(mnist):
    data = DigitMotion(validation=0.5)
    train, validation = (data.load(mnist, split) for split in ("train", "validation"))
    assert torch.bincount(train.labels).tolist() == torch.bincount(validation.labels).tolist() == [1] * 40
    shown = [{float(x.max()) for x in part.sequences} for part in (train, validation)]
    assert not shown[0] & shown[1]


def test_files_that_do_not_belong_together_are_an_error(mnist):
    path = mnist / LABEL_FILES["test"]
    for labels in ([1] * 12, ([*range(10), 11] * 5)[:49]):
        write_labels(path, labels)
        with pytest.raises(ValueError, match=rf"{path.name}.* {len(labels)} labels.*\(49, 28, 28\)"):
            DigitMotion().load(mnist, "test")
    path.write_bytes((mnist / FILES["test"]).read_bytes())
    with pytest.raises(ValueError, match=r"t10k-labels.*00 00 08 01.*00 00 08 03"):
        DigitMotion().load(mnist, "test")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels.*https"):
        DigitMotion().load(mnist, "test")
    with pytest.raises(FileNotFoundError, match="--data DIR"):
        DigitMotion().load(None, "train")


def test_digits_that_are_missing_are_an_error(mnist):
    write_labels(mnist / LABEL_FILES["test"], [1] * 49)
    with pytest.raises(ValueError, match=r"t10k-labels.*digit"):
        DigitMotion().load(mnist, "test")

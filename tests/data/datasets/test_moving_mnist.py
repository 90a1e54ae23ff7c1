"""The generator moves images as the paper describes, and damaged files are errors."""

import json

import numpy as np
import pytest
import torch

from convrnn_zoo.data import FRAME_DATASETS
from convrnn_zoo.data.datasets.moving_mnist import FILES, MovingDigits, MovingMNIST, read_idx
from tests.helpers.command_line import run
from tests.helpers.made_data import write_idx

DOT = torch.full((1, 4, 4), 255, dtype=torch.uint8)


def corners(frames):
    """Top and left of the bright square of every frame."""
    rows, columns = frames.amax(-1) > 0, frames.amax(-2) > 0
    return torch.stack([rows.int().argmax(-1), columns.int().argmax(-1)], -1)


def test_an_image_moves_straight_and_bounces_at_the_walls():
    frames = MovingDigits(DOT, 40, count=1, size=24).draw(50)[:, :, 0]
    assert (frames.sum((-1, -2)) == 16).all()  # whole in every frame
    place = corners(frames)
    assert place.min() == 0
    assert place.max() == 20
    step = place.diff(dim=1).abs().float()
    assert step.square().sum(-1).sqrt().max() <= 0.1 * 20 + 2**0.5  # a step, and what rounding adds
    inside = ((place > 2) & (place < 18)).all(-1)
    straight = inside[:, :-2] & inside[:, 1:-1] & inside[:, 2:]
    bend = place.diff(dim=1).diff(dim=1).abs().amax(-1)
    assert bend[straight].max() <= 1
    assert straight.any()
    speed = place[:, 1:6].float().sub(place[:, :5]).norm(dim=-1)[inside[:, :6].all(1)].mean()
    assert speed == pytest.approx(2, abs=0.15)


def test_overlapping_images_show_the_brighter_pixel():
    images = torch.stack([DOT[0] // 2, DOT[0]])
    frames = MovingDigits(images, 5, count=2, size=6).draw(20) * 255
    assert frames.unique().tolist() == [0, 127, 255]
    bright = (frames == 255).sum((-1, -2))
    assert ((bright == 0) | (bright >= 16)).all()  # the dim image never hides a part of the bright one


def test_random_sequences_follow_the_seed_and_fixed_ones_do_not():
    images = torch.randint(256, (9, 28, 28), dtype=torch.uint8)
    moving = MovingDigits(images, 8)
    torch.manual_seed(1)
    first, fixed = moving.draw(3), moving.fixed(20)
    assert not torch.equal(moving.draw(3), first)
    torch.manual_seed(1)
    assert torch.equal(moving.draw(3), first)
    assert torch.equal(moving.fixed(20), fixed)
    assert torch.equal(moving.fixed(7), fixed[:7])
    assert torch.equal(MovingDigits(images, 5).fixed(20), fixed[:, :5])
    for i in (0, 1, 6, 19):
        assert torch.equal(moving[i], fixed[i])


@pytest.mark.parametrize("name", [n for n, s in FRAME_DATASETS.items() if issubclass(s, MovingMNIST)])
def test_compressed_files_are_read_and_missing_ones_reported(name, digits, tmp_path):
    data = FRAME_DATASETS[name]()
    assert data.load(digits, "test", 1, 2).draw(2).shape == (2, 3, 1, 64, 64)
    with pytest.raises(FileNotFoundError, match=r"train-images.*http"):
        data.load(tmp_path, "train", 10, 10)
    with pytest.raises(FileNotFoundError, match="--data DIR"):
        data.load(None, "train", 10, 10)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_incomplete_files_are_an_error(tmp_path, suffix):
    path = tmp_path / f"{FILES['test']}{suffix}"
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28)
    write_idx(path, images)
    assert torch.equal(read_idx(path), torch.from_numpy(images.astype(np.uint8)))
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(ValueError, match="t10k-images"):
        read_idx(path)
    path.write_bytes(b"\0\0\x08\x01" + content[4:])
    with pytest.raises(ValueError, match="t10k-images"):
        read_idx(path)


def test_images_larger_than_the_frame_are_an_error():
    with pytest.raises(ValueError, match=r"images.*3×3.*\(1, 4, 4\)"):
        MovingDigits(DOT, size=3)


def test_the_published_test_file_is_the_test_part(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 7, 64, 64), dtype="uint8")
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, frames)
    clips = MovingMNIST().load(path, "test", 10, 10)
    assert len(clips) == 7
    expected = torch.from_numpy(frames / 255).float().transpose(0, 1)[:, :, None]
    torch.testing.assert_close(clips.fixed(7), expected)
    torch.testing.assert_close(MovingMNIST().load(path, "test", 4, 2)[3], expected[3, :6])
    with pytest.raises(ValueError, match=r"mnist_test_seq\.npy.*train"):
        MovingMNIST().load(path, "train", 10, 10)
    with pytest.raises(ValueError, match=r"mnist_test_seq\.npy.*\b21 frames.*\(20, 7, 64, 64\)"):
        MovingMNIST().load(path, "test", 10, 11)


def test_weights_are_scored_on_the_published_test_file(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "mnist_test_seq.npy", rng.integers(0, 256, (20, 2, 64, 64), dtype="uint8"))
    args = ("eval", "convgru_forecaster.moving_mnist", "--data", tmp_path / "mnist_test_seq.npy", "--json", "--quiet")
    scores = json.loads(run(*args))
    assert len(scores["forecast"]["MSE"]) == 10
    assert min(scores["forecast"]["MSE"]) > 0


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_part_has_sequences_of_inputs_and_horizon(split, digits):
    clips = MovingMNIST(validation=0.25).load(digits, split, 5, 2)
    assert clips.length == 7
    assert clips.fixed(2).shape == clips.draw(2).shape == (2, 7, 1, 64, 64)
    with pytest.raises(ValueError, match=r"split .*'validation'.*'valid'"):
        MovingMNIST().load(digits, "valid", 5, 2)

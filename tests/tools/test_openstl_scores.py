"""Scores of OpenSTL's weights on Moving MNIST, next to published ones."""

import gzip
import struct

import numpy as np
import pytest
import torch

from tools.weights import compare_openstl, load_draws, openstl_errors, openstl_similarity


def test_similarity_equals_that_of_scikit_image():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(3, 1, 16, 12, generator=generator) for _ in range(2))
    assert openstl_similarity(x, y) == pytest.approx(0.0755879, abs=1e-6)  # structural_similarity(…, data_range=2)


def test_errors_are_sums_over_the_pixels_of_a_frame():
    frames = torch.zeros(20, 1, 8, 8)
    frames[10:] = 0.5
    mse, mae, _ = openstl_errors(lambda x: x.new_zeros(1, 10, 1, 8, 8), [frames, frames])
    assert (mse, mae) == (64 * 0.25, 64 * 0.5)


def test_a_directory_gives_three_samples_and_the_published_file_one(tmp_path):
    images = struct.pack(">4I", 0x803, 2, 28, 28) + bytes([255]) * (2 * 28 * 28)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    first, second, third = load_draws(tmp_path, 1)
    assert first[0].shape == (20, 1, 64, 64)
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(second[0], third[0])
    np.save(tmp_path / "test.npy", np.full((20, 3, 64, 64), 51, "uint8"))
    ((frames, _),) = load_draws(tmp_path / "test.npy", 2)
    assert frames.unique().tolist() == pytest.approx([0.2])


def test_more_than_two_per_cent_is_an_error_that_names_the_score():
    published = ["20", "60", "0.9"]
    assert "mim" in compare_openstl("mim", [[20.3, 60, 0.9], [20.3, 60, 0.9]], published)
    with pytest.raises(ValueError, match=r"mim.*MAE differ"):
        compare_openstl("mim", [[20.3, 62, 0.9]], published)
    with pytest.raises(ValueError, match=r"SSIM differ"):
        compare_openstl("mim", [[20, 60, float("nan")]], published)

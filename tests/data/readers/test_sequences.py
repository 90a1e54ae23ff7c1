"""Recordings of files for a classifier: which axis of an array is which."""

import numpy as np
import pytest

from convrnn_zoo import create_model
from convrnn_zoo.data.readers.sequences import read_recordings


@pytest.mark.parametrize(
    ("shape", "layout", "recordings"),
    [
        ((5, 7, 3), "", [(7, 3)] * 5),  # (N, T, C)
        ((5, 3, 7), "NCT", [(7, 3)] * 5),
        ((5, 3, 7), "", [(5, 3, 7)]),  # (T, C, W)
        ((5, 7, 3, 4), "", [(7, 3, 4)] * 5),
    ],
    ids=str,
)
def test_an_array_x_holds_several_recordings_if_its_shape_says_so(shape, layout, recordings, tmp_path):
    x = np.random.default_rng(0).random(shape, dtype="float32")
    np.savez(tmp_path / "a.npz", x=x)
    model = create_model("convlstm1d_1layer", in_chans=3, num_classes=2)
    read = [r.values for r in read_recordings(tmp_path / "a.npz", model, layout)]
    assert [tuple(r.shape) for r in read] == recordings
    expected = x.swapaxes(1, 2) if layout else x
    np.testing.assert_array_equal(np.stack(read).reshape(expected.shape), expected)

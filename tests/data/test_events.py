"""Voxel grids of events."""

import numpy as np
import pytest
import torch

from convrnn_zoo.data import voxel_grid


def by_hand(t, x, y, p, bins, height, width):
    """The sum over all events of the definition, one bin at a time."""
    grid = np.zeros((bins, height, width))
    place = (bins - 1) * (t - t.min()) / (t.max() - t.min())
    for b in range(bins):
        np.add.at(grid[b], (y, x), np.where(p > 0, 1, -1) * np.maximum(0, 1 - np.abs(b - place)))
    return grid


@pytest.fixture
def events():
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(3, 4, 400))
    return t, rng.integers(0, 12, 400), rng.integers(0, 9, 400), rng.integers(0, 2, 400)


@pytest.mark.parametrize("bins", [1, 2, 5])
def test_grid_is_the_sum_of_the_definition(events, bins):
    grid = voxel_grid(*events, size=(9, 12), bins=bins, normalize=False)
    torch.testing.assert_close(grid.double(), torch.from_numpy(by_hand(*events, bins, 9, 12)), atol=1e-6, rtol=0)


def test_forms_of_the_events_do_not_matter(events):
    t, x, y, p = events
    expected = voxel_grid(t, x, y, p, size=(9, 12))
    order = np.random.default_rng(1).permutation(len(t))
    for form in (
        (t, x.astype("uint16"), y.astype("uint16"), p.astype(bool)),
        (t, x, y, 2 * p - 1),
        (torch.from_numpy(t), torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(p)),
        tuple(v[order] for v in (t, x, y, p)),
        (t * 1e6, x, y, p),
    ):
        torch.testing.assert_close(voxel_grid(*form, size=(9, 12)), expected, atol=1e-5, rtol=0)


def test_nanoseconds_are_exact():
    start = 1_700_000_000_000_000_000
    t = torch.tensor([start, start + 25, start + 100])
    grid = voxel_grid(t, [0, 0, 0], [0, 0, 0], [1, 1, 1], size=(1, 1), bins=5, normalize=False)
    assert grid.flatten().tolist() == [1, 1, 0, 0, 1]


def test_values_are_standardized_where_there_are_events(events):
    grid, raw = voxel_grid(*events, size=(9, 12)), voxel_grid(*events, size=(9, 12), normalize=False)
    values = grid[raw != 0]
    assert abs(values.mean()) < 1e-6
    assert abs(values.std(correction=0) - 1) < 1e-6
    assert not grid[raw == 0].any()


def test_windows_without_events_or_with_one():
    none = voxel_grid([], [], [], [], size=(2, 3))
    assert none.shape == (5, 2, 3)
    assert not none.any()
    one = voxel_grid([7.0], [2], [1], [0], size=(2, 3))
    assert one[0, 1, 2] == -1
    assert one.abs().sum() == 1
    late = voxel_grid([0.5], [2], [1], [1], size=(2, 3), start=0.0, stop=1.0)
    assert late[2, 1, 2] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [0, 12]}, "x must be whole numbers from 0 to 11"),
        ({"y": [-1, 0]}, "y must be whole numbers from 0 to 8"),
        ({"x": [0.5, 1]}, "x must be whole numbers"),
        ({"polarity": [2, 1]}, "polarity"),
        ({"polarity": [0, -1]}, "polarity"),
        ({"t": [1.0, 2.0, 3.0]}, "one value per event"),
        ({"t": [float("nan"), 2.0]}, "start and stop must enclose"),
        ({"t": [[1.0, 2.0]]}, "one axis"),
        ({"start": 1.5}, "start and stop must enclose"),
        ({"bins": 0}, "bins"),
    ],
)
def test_errors_name_the_argument(change, message):
    valid = {"t": [1.0, 2.0], "x": [0, 1], "y": [0, 1], "polarity": [0, 1], "size": (9, 12)}
    with pytest.raises(ValueError, match=message):
        voxel_grid(**{**valid, **change})

"""Minicubes of EarthNet2021, with arrays as in its files."""

import numpy as np
import pytest
import torch

from convrnn_zoo.data import read_minicube
from convrnn_zoo.data.files import FileError
from tests.helpers.data.minicubes import arrays, save


def test_a_test_cube_is_context_and_target(tmp_path):
    context, target = arrays(), {"highresdynamic": arrays(20, seed=1)["highresdynamic"]}
    context["highresdynamic"][1, 2, :, 3] = np.nan
    cube = read_minicube(save(tmp_path / "context.npz", **context), save(tmp_path / "target.npz", **target))
    assert [tuple(part.shape) for part in cube] == [(30, 4, 8, 8), (30, 1, 8, 8), (1, 8, 8), (150, 5, 2, 2)]
    assert {part.dtype for part in cube} == {torch.float32}
    assert cube.frames[3, :, 1, 2].isnan().all()
    assert cube.mask[3, 0, 1, 2] == 1
    for t, row, column, band in ((0, 3, 5, 0), (9, 7, 0, 3)):
        assert cube.frames[t, band, row, column] == context["highresdynamic"][row, column, band, t]
    assert cube.frames[14, 2, 6, 1] == target["highresdynamic"][6, 1, 2, 4]
    assert cube.mask[14, 0, 6, 1] == target["highresdynamic"][6, 1, 4, 4]
    assert cube.elevation[0, 4, 2] == context["highresstatic"][4, 2, 0]
    assert cube.daily[77, 3, 1, 0] == context["mesodynamic"][40, 39, 3, 77]
    assert len(read_minicube(tmp_path / "context.npz").frames) == 10


def test_weather_is_that_of_five_days_in_the_cell_of_a_pixel(tmp_path):
    cube = read_minicube(save(tmp_path / "a.npz"))
    means, extremes = cube.weather(), cube.weather(extremes=True)
    assert means.shape == extremes.shape == (30, 5, 8, 8)
    days = cube.daily[35:40]
    for row, column in ((0, 0), (3, 4), (7, 3), (4, 7)):
        cell = days[:, :, row // 4, column // 4]
        torch.testing.assert_close(means[7, :, row, column], cell.mean(0))
        expected = torch.cat([cell[:, :3].mean(0), cell[:, 3].amin()[None], cell[:, 4].amax()[None]])
        torch.testing.assert_close(extremes[7, :, row, column], expected)


def test_a_training_cube_has_its_mask_in_the_last_channel(tmp_path):
    images = arrays(30, channels=7)["highresdynamic"]
    cube = read_minicube(save(tmp_path / "a.npz", highresdynamic=images))
    assert cube.frames.shape == (30, 4, 8, 8)
    assert cube.mask[5, 0, 1, 2] == images[1, 2, 6, 5]


@pytest.mark.sampled("changes", "message")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"highresdynamic": None}, "with highresdynamic .* got only highresstatic"),
        ({"mesodynamic": np.zeros((80, 80, 4, 150))}, r"mesodynamic .* got an array \(80, 80, 4, 150\)"),
        ({"highresdynamic": np.zeros((8, 8, 4, 10))}, r"highresdynamic .* got an array \(8, 8, 4, 10\)"),
        ({"highresstatic": np.zeros((8, 8))}, r"highresstatic .* got an array \(8, 8\)"),
        ({"mesodynamic": np.array([{}])}, "Python objects"),
    ],
)
def test_other_files_are_errors_that_name_the_array(changes, message, tmp_path):
    with pytest.raises(FileError, match=message):
        read_minicube(save(tmp_path / "a.npz", **changes))


@pytest.mark.slow
def test_a_target_of_another_size_is_an_error(tmp_path):
    context = save(tmp_path / "a.npz")
    target = save(tmp_path / "b.npz", highresdynamic=arrays(20, size=4)["highresdynamic"])
    with pytest.raises(FileError, match=r"expected images \(5, 8, 8\), got \(5, 4, 4\)"):
        read_minicube(context, target)
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(FileError, match=r"c\.npz"):
        read_minicube(tmp_path / "c.npz")

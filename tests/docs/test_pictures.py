"""Tests of the generators of figures."""

import torch

from tools import families, pictures


def test_spots_stay_in_the_image_and_move() -> None:
    x = families.moving_spots(3, size=24, seed=1)
    assert x.shape == (3, families.INPUTS + families.HORIZON, 1, 24, 24)
    assert (x.amax((2, 3, 4)) > 0.8).all()
    assert (x[:, 1:] - x[:, :-1]).abs().amax((1, 2, 3, 4)).min() > 0.01
    assert torch.equal(x, families.moving_spots(3, size=24, seed=1))


def test_every_figure_of_the_gallery_and_the_tutorials_is_in_the_repository() -> None:
    for page in pictures.PAGES:
        assert pictures.shown(page), page.name
        assert not [name for name in pictures.shown(page) if not (pictures.PICTURES / name).is_file()], page.name

"""Data augmentation of recordings."""

import dataclasses

import pytest
import torch

from convrnn_zoo.train import Recipe
from convrnn_zoo.train.augment import DECIBEL, Augment

RECIPE = Recipe.read("fsdd_convgru1d_bi_2layer")


def test_the_default_changes_nothing():
    x = torch.randn(9, 5, 1)
    assert torch.equal(Augment()(x, torch.zeros(5)), x)
    assert RECIPE.augmentation() is not None
    assert dataclasses.replace(RECIPE, augment={}).augmentation() is None


def test_each_change_is_within_its_bounds():
    torch.manual_seed(0)
    x, mean = torch.randn(30, 12, 1), torch.full((12,), 7.0)
    loud = Augment(gain=6.0)(x, mean) - x
    assert loud.std() < 1e-5 < loud.abs().max() < 6 * 5 * DECIBEL
    color = Augment(color=6.0)(x, mean) - x
    assert torch.allclose(color, color[:1].expand_as(color), atol=1e-5)  # the same at every step
    assert abs(color.mean()) < 1e-5 < color.std()
    hiss = Augment(hiss=20.0)(x, mean)
    assert bool((hiss > x).all())
    ramp = torch.arange(12.0).reshape(1, 12, 1).expand(4, 12, 1)
    for _ in range(5):
        warped = Augment(warp=0.2)(ramp, mean)[0, :, 0]
        factor = (warped[5] / 5).item()
        assert 0.8 <= factor <= 1.2
        assert torch.allclose(warped, (torch.arange(12) * factor).clamp(0, 11), atol=1e-4)
    lengths = {len(Augment(stretch=0.5)(x, mean)) for _ in range(50)}
    assert min(lengths) >= 15
    assert max(lengths) <= 45
    assert len(lengths) > 10
    for name, axis, most in (("steps", 0, 4), ("bands", 1, 3)):
        widths = set()
        for _ in range(60):
            masked = (Augment(**{name: most})(x, mean) == 7.0).all(1 - axis).flatten().nonzero().flatten()
            widths.add(len(masked))
            assert not len(masked) or masked[-1] - masked[0] + 1 == len(masked)
        assert widths == set(range(most + 1))
    assert len(Augment(stretch=0.9, steps=9)(x[:1], mean)) >= 1


def test_fields_are_checked():
    with pytest.raises(ValueError, match=r"augment\.gain must be at least 0, got -1"):
        dataclasses.replace(RECIPE, augment={"gain": -1})
    with pytest.raises(ValueError, match="loudness"):
        dataclasses.replace(RECIPE, augment={"loudness": 1})

"""Data augmentation of recordings."""

import dataclasses
import math

import pytest
import torch

from convrnn_zoo import LogMel
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.recipes.augment import DECIBEL, Augment, make_negatives, read_bands

RECIPE = Recipe.read("fsdd_audio_convrnn")


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


def test_a_pitch_shift_moves_the_peak_of_a_tone_by_its_ratio():
    torch.manual_seed(0)
    front_end, ratios = LogMel(rate=8000), []
    for frequency in (500.0, 1500.0):
        x = front_end.encode(torch.sin(torch.arange(8000) / 8000 * frequency * 2 * math.pi), 8000)
        for _ in range(30):
            shifted = Augment(pitch=0.25)(x, torch.zeros(40), front_end)[10, :, 0].exp()
            peak = front_end.frequencies((shifted * torch.arange(40)).sum() / shifted.sum()).item()
            ratios.append(peak / frequency)
            louder = Augment(pitch=1e-9)(x, torch.zeros(40), front_end)
            assert torch.allclose(louder, x, atol=1e-3)
    assert 0.77 < min(ratios) < 0.85
    assert 1.18 < max(ratios) < 1.3
    # Resampling a sound multiplies its frequencies, too: the same shift of a chord gives the same bands.
    ratio, time = 1.2, torch.arange(8000) / 8000
    low, high = (sum(torch.sin(time * f * r * 2 * math.pi) for f in (300, 900, 2200)) / 3 for r in (1, ratio))
    bands = front_end.encode(low, 8000)
    position = front_end.positions(front_end.frequencies(torch.arange(40)) / ratio)
    moved, expected = read_bands(bands, position)[20, :, 0], front_end.encode(high, 8000)[20, :, 0]
    before = bands[20, :, 0]
    assert (moved - expected).abs().mean() < 0.25 * (before - expected).abs().mean()


def test_a_pitch_shift_needs_a_front_end():
    with pytest.raises(ValueError, match=r"augment\.pitch.*front_end"):
        Augment(pitch=0.1)(torch.zeros(5, 4, 1), torch.zeros(4))


def test_tinted_noise_differs_between_bands_and_not_between_steps():
    torch.manual_seed(0)
    x, mean = torch.full((400, 40, 1), -11.0), torch.zeros(40)
    for tint, is_even in ((0.0, True), (6.0, False)):
        added = Augment(hiss=20.0, tint=tint)(x, mean).mean(0)[:, 0]
        assert (added.std() < 0.1) == is_even
        assert (added > -11).all()


def test_a_rotation_keeps_lengths_and_angles_of_all_vectors():
    torch.manual_seed(0)
    x, mean = torch.randn(7, 6, 10), torch.zeros(6)
    turned = Augment(rotate=0.5)(x, mean)
    before, after = (v.unflatten(1, (2, 3)) for v in (x, turned))
    torch.testing.assert_close(after.norm(dim=2), before.norm(dim=2))
    products = [(v[:, 0] * v[:, 1]).sum(1) for v in (before, after)]  # of the two sensors
    torch.testing.assert_close(products[1], products[0], atol=1e-5, rtol=1e-5)
    cosine = (before * after).sum(2) / before.norm(dim=2).square()
    assert math.cos(0.5) - 1e-5 <= cosine.min() < 1 - 1e-5
    with pytest.raises(ValueError, match=r"augment\.rotate.*got 4 channels"):
        Augment(rotate=0.5)(x[:, :4], mean[:4])


def test_negatives_are_sequences_played_backwards_and_steady_sounds():
    torch.manual_seed(0)
    lengths = torch.tensor([5, 9, 7])
    x = torch.arange(1.0, 10).reshape(1, 9, 1, 1) * torch.tensor([1.0, 10, 100]).reshape(3, 1, 1, 1)
    x = x.expand(3, 9, 4, 1) * (torch.arange(9) < lengths[:, None])[..., None, None]
    made, of = make_negatives(x, lengths, 40)
    assert made.shape == (40, 9, 4, 1)
    assert set(of.tolist()) == {5, 7, 9}
    originals = {int(n): x[i] for i, n in enumerate(lengths)}
    for values, n in zip(made[:20], of[:20].tolist(), strict=True):
        assert torch.equal(values[:n], originals[n][:n].flip(0))
    steps = set()
    for values, n in zip(made[20:], of[20:].tolist(), strict=True):
        nearest = (values.mean() - originals[n][:n, 0, 0]).abs().argmin()
        steps.add(int(nearest))
        assert (values - originals[n][nearest]).std() < 0.75  # the noise
    assert len(steps) > 3


def test_fields_are_checked():
    with pytest.raises(ValueError, match=r"augment\.tint is of the noise that augment\.hiss adds"):
        dataclasses.replace(RECIPE, augment={"tint": 3.0})
    with pytest.raises(ValueError, match=r"augment\.gain.* -1"):
        dataclasses.replace(RECIPE, augment={"gain": -1})
    with pytest.raises(ValueError, match="loudness"):
        dataclasses.replace(RECIPE, augment={"loudness": 1})

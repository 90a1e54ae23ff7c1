"""Every type of frame has separate colours and a legend below it."""

import pytest
import torch

from convrnn_zoo import Preprocessing, Variable
from convrnn_zoo.verify import Evaluation, figures
from convrnn_zoo.verify.figures import (
    DIFFERENCE,
    Panels,
    animate,
    draw_scores,
    ensemble_strip,
    probability_strip,
    side_by_side,
    strip,
)

BRIGHTNESS = Preprocessing(lowest=0.0, highest=1.0)
RAIN = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h")


@pytest.fixture
def shown(monkeypatch):
    """Figures that are rendered."""
    shown = []
    monkeypatch.setattr(figures, "render", shown.append)
    monkeypatch.setattr(figures, "stack_images", lambda images: None)
    return shown


@pytest.mark.parametrize(
    ("scale", "legends"),
    [(BRIGHTNESS, ["brightness", DIFFERENCE]), (RAIN, ["[mm/h]", f"{DIFFERENCE} [mm/h]"])],
    ids=["brightness", "rain"],
)
def test_a_difference_in_motion_has_its_own_colours_and_legend(scale, legends):
    frames = torch.rand(3, 8, 8)
    figure = side_by_side([("truth", frames[0]), ("forecast", frames[1]), (DIFFERENCE, frames[2] - 0.5)], scale, "")
    truth, forecast, difference, *bars = figure.axes
    maps = [axis.images[0].get_cmap().name for axis in (truth, forecast, difference)]
    assert maps[0] == maps[1] != maps[2] == "RdBu"
    assert [bar.get_xlabel() for bar in bars] == legends


@pytest.mark.slow
def test_every_target_has_its_rows():
    names = ("t2m", "rain")
    weather = Preprocessing(
        variables=tuple(Variable(name=n, unit=u) for n, u in zip(names, ("K", "mm/h"), strict=True))
    )
    one = Preprocessing(variables=weather.variables, targets=("rain",), step=60.0)
    inputs, forecast, truth = torch.rand(3, 2, 2, 8, 8).unbind()
    double, single = Panels(inputs, forecast, truth), Panels(inputs[:, 1:], forecast[:, 1:], truth[:, 1:])
    assert [title for _, title, *_ in double.split(weather, "a")] == ["a: t2m", "a: rain"]
    assert strip(double, weather).height == 2 * strip(single, one).height
    images = animate(double, weather)
    assert (len(images), images[0].height) == (4, 2 * animate(single, one)[0].height)
    members = torch.rand(3, 2, 2, 8, 8)
    ensemble = ensemble_strip(members, weather, threshold=0.5, truth=truth)
    assert ensemble.height == 2 * ensemble_strip(members[:, :, 1:], one, threshold=0.5, truth=truth[:, 1:]).height


@pytest.mark.parametrize(("step", "titles"), [(60.0, ("0 h", "+1 h")), (1440.0, ("0 d", "+1 d")), (None, ("0", "+1"))])
def test_lead_times_are_in_the_natural_unit(step, titles, tmp_path, monkeypatch, shown):
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: shown.append(figure))
    frames, scale = torch.rand(1, 1, 8, 8), Preprocessing(unit="K", step=step)
    strip(Panels(frames, frames, step=step), scale)
    ensemble_strip(torch.rand(2, 1, 8, 8), scale, threshold=0.5)
    draw_scores(Evaluation({"forecast": {"MSE": [1.0, 2.0]}}, {}), tmp_path / "a.png", "", step)
    together, members, scores = ([axis.get_title() for axis in figure.axes] for figure in shown)
    assert together[:2] == list(titles)
    assert set(members[:3]) == {titles[1]}
    assert scores == ["MSE"]
    assert shown[-1].axes[0].get_xlabel() == f"lead time in {titles[1].partition(' ')[2] or 'frames'}"
    assert shown[-1].axes[0].lines[0].get_xdata().tolist() == [1, 2]


def test_channels_without_names_are_shown_together():
    frames = torch.zeros(2, 3, 8, 8)
    frames[:, 1, 2:5] = 1
    ((_, _, rows, _),) = Panels(frames, frames).split(Preprocessing(lowest=0.0, highest=1.0), "")
    assert rows["input"][0].max() > 0


def test_differences_are_scaled_by_the_differences_and_quantities_have_colours(shown):
    truth = torch.linspace(250, 300, 128).reshape(2, 1, 8, 8)
    forecast = truth + 2 * torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    for draw in (strip, animate):
        shown.clear()
        draw(Panels(truth, forecast, truth), Preprocessing(unit="K"))
        images = {image.get_cmap().name: image.get_clim() for axis in shown[0].axes for image in axis.images}
        assert images["RdBu"] == pytest.approx((-2, 2))
        assert "gray" not in images


def test_probabilities_have_a_row_for_each_threshold(shown):
    probabilities = torch.rand(3, 2, 8, 8)
    probability_strip(probabilities, RAIN, (0.5, 5.0), ("a", "b", "c"))
    axes = [axis for axis in shown[0].axes if axis.images]
    assert [axis.get_ylabel() for axis in axes if axis.get_ylabel()] == ["P(≥ 0.5 mm/h)", "P(≥ 5 mm/h)"]
    assert [axis.get_title() for axis in axes] == ["a", "b", "c"] * 2
    assert axes[4].images[0].get_array().tolist() == pytest.approx(probabilities[1, 1].numpy())
    assert {axis.images[0].get_clim() for axis in axes} == {(0, 1)}

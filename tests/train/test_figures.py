"""Each kind of frame has its own colours and its own legend below it."""

import pytest
import torch

from convrnn_zoo import Preprocessing
from convrnn_zoo.train.figures import DIFFERENCE, side_by_side

BRIGHTNESS = Preprocessing(lowest=0.0, highest=1.0)
RAIN = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h")


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

"""Training without figures, whose layout takes longer than the updates of a small run."""

from collections.abc import Callable
from typing import Any

from convrnn_zoo._extras import need
from convrnn_zoo.train import forecaster, loop


def write_small_figures(replace: Callable[[Any, str, Any], Any] = setattr) -> None:
    """Makes training write images of a few pixels in place of figures; `replace` is ``setattr`` or that of pytest."""
    replace(forecaster, "strip", lambda panels, *args: need("PIL.Image", "draw").new("RGB", (8, 8)))
    replace(loop, "draw_losses", lambda history, path: path.touch())

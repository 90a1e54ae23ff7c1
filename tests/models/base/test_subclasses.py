"""A subclass that lacks a part gets an error that names it."""

import pytest
import torch

from convrnn_zoo.models.base.forecaster import EncoderForecaster
from convrnn_zoo.models.utae import ImageSeriesModel


class Forecaster(EncoderForecaster):
    def __init__(self) -> None:
        super().__init__(1, 2, 1, 0)
        self.weight = torch.nn.Parameter(torch.zeros(1))


class Series(ImageSeriesModel):
    num_features = 1

    def __init__(self) -> None:
        super().__init__(1)
        self.reset_classifier(0)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes, self.head = num_classes, torch.nn.Identity()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Forecaster()(torch.zeros(1, 2, 1, 4, 4)), "encode"),
        (lambda: Forecaster().decode(None), "decode"),
        (lambda: Series()(torch.zeros(1, 2, 1, 4, 4)), "forward_dates"),
    ],
)
def test_a_missing_method_is_named(call, name):
    with pytest.raises(NotImplementedError, match=rf"(Forecaster|Series).*{name}"):
        call()

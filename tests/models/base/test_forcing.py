"""A known forcing is used: forecasts of generated advection and diffusion are better with it than without."""

import pytest
import torch
import torch.nn.functional as F

from convrnn_zoo import create_model

INPUTS, HORIZON, SIZE = 3, 3, 16


def simulate(sequences, generator):
    """Advects and diffuses random fields on a torus, heated or cooled at random times at a random place.

    Returns:
        The fields and the forcing, both ``(N, INPUTS + HORIZON, 1, SIZE, SIZE)``.
    """
    place = torch.randint(SIZE, (2, sequences, 1, 1), generator=generator)
    axis = torch.arange(SIZE)
    distance = [
        (axis.reshape(shape) - at + SIZE // 2) % SIZE - SIZE // 2
        for shape, at in zip(((-1, 1), (1, -1)), place, strict=True)
    ]
    source = (-(distance[0] ** 2 + distance[1] ** 2) / 8).exp()
    strength = 2 * torch.randint(-1, 2, (INPUTS + HORIZON, sequences, 1, 1), generator=generator)
    forcing = strength * source
    field, fields = torch.zeros(sequences, 1, SIZE, SIZE), []
    for heat in forcing:
        field = F.avg_pool2d(F.pad(field.roll(1, 3), (1, 1, 1, 1), mode="circular"), 3, 1) + heat[:, None]
        fields.append(field)
    return torch.stack(fields, 1), forcing.transpose(0, 1)[:, :, None]


def error(name, known, steps=150):
    """Returns the mean squared error on new sequences of a small network trained on others."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = create_model(
        name,
        hidden_channels=12,
        kernel_size=3,
        num_layers=1,
        patch_size=2,
        future_chans=int(known),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps + 1):
        fields, forcing = simulate(8 if step < steps else 64, generator)
        inputs = {"future": forcing} if known else {}
        loss = (model(fields[:, :INPUTS], HORIZON, **inputs) - fields[:, INPUTS:]).square().mean()
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convgru_forecaster", "predrnn"])
def test_a_known_forcing_lowers_the_error_by_a_third(name):
    assert error(name, known=True) < 2 / 3 * error(name, known=False)

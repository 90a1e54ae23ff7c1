"""The learning rate over the updates."""

import dataclasses

import pytest
import torch
from test_forecast import PLAIN

from convrnn_zoo.train.schedules import SCHEDULES, one_cycle


def rates(recipe, make=one_cycle):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make(optimizer, recipe)
    found = []
    for _ in range(recipe.updates):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_one_cycle_is_torchs():
    recipe = dataclasses.replace(PLAIN, updates=500, warmup=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.0, total_steps=500, cycle_momentum=False)
    for rate in rates(recipe):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.03)
        optimizer.step()
        theirs.step() if theirs.last_epoch < 499 else None


def test_cycles_follow_each_other_half_as_high():
    found = rates(dataclasses.replace(PLAIN, updates=60, cycles=(40, 20), warmup=0.25))
    assert (found[10], found[45]) == (2.0, 1.0)
    assert max(found[:40]) == 2.0
    assert max(found[40:]) == 1.0
    assert found[39] < 0.02 > found[59]
    with pytest.raises(ValueError, match="add up to its 60 updates, got \\[40, 10\\]"):
        rates(dataclasses.replace(PLAIN, updates=60, cycles=(40, 10)))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_ends_low(name):
    assert rates(dataclasses.replace(PLAIN, updates=200), SCHEDULES[name])[-1] < 0.01

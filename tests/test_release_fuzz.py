"""The targets of the fuzzer read their valid inputs, and reject damaged ones with the errors that they document."""

import random

import pytest

from fuzz.targets import TARGETS, check


@pytest.mark.parametrize("target", TARGETS)
def test_valid_inputs_are_read(target: str) -> None:
    seeds = TARGETS[target].seeds()
    assert {name: check(target, data) for name, data in seeds.items()} == {
        name: name != "described"  # the config of other weights
        for name in seeds
    }


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_inputs_are_rejected(target: str) -> None:
    chance = random.Random(0)
    seeds = list(TARGETS[target].seeds().values())
    results = []
    for _ in range(40):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice([1, 2, 8])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        results.append(check(target, bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])))
    assert not all(results)

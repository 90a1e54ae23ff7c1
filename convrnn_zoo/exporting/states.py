"""Names, axes and order of the states in exported files."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..layers._states import LayerStates, name_tensors
from .graph import equations, state_suffixes
from .spec import BATCH, Axes, Axis

StateNames = list[list[list[str]]]  # for each recurrent module, for each of its layers and directions


def name_states(layers: Sequence[Any], maps: Sequence[Sequence[Axis | int]]) -> tuple[StateNames, dict[str, Axes]]:
    """Returns the names of the states of recurrent modules whose maps have these axes, and the axes of each state."""
    names: StateNames = []
    axes: dict[str, Axes] = {}
    depth = 0
    for layer, map_ in zip(layers, maps, strict=True):
        names.append([[name + suffix for name in equations(layer).states] for suffix in state_suffixes(layer, depth)])
        for i, state in enumerate(names[-1]):
            width = layer.widths[i // layer.num_directions]
            axes |= {name: [BATCH, width, *map_] for name in state}
        depth += len(layer.widths)
    return names, axes


def read_states(inputs: Mapping[str, Tensor], names: StateNames) -> Any:
    """Returns the states among the inputs, in the structure that a model takes: :class:`LayerStates`, or a list."""
    states = [LayerStates(tuple(inputs[f"{s}_in"] for s in state) for state in layer) for layer in names]
    return states[0] if len(states) == 1 else states


def list_states(states: Any) -> list[Tensor]:
    """Returns the states of a model in the order of their names."""
    return [tensor for _, tensor in name_tensors(states)]

"""Models with an image encoder on every frame and recurrent layers on its maps: both forms."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase
from ..models import VideoModel
from ..models._sequences import POOLS, valid_steps
from ..models.rvm import RecurrentDecoderModel
from ._errors import NO_STEP, ExportError
from ._layers import OneStep, loops_in_graph
from ._plan import BATCH, TIME, Axis, Part, Plan, Port, Run, Sizes, Tried, space, states_out
from ._pools import pool_of, pool_ports, pool_so_far
from ._states import state_of, tensors_of

ClipModel = VideoModel | RecurrentDecoderModel
Size = tuple[int, int]


# ---- sizes ------------------------------------------------------------------------------------------------------
class _Frames(NamedTuple):
    """The axes of a frame, and of the maps that each recurrent layer reads; why they are fixed, if they are."""

    frame: list[Axis | int]
    maps: list[list[Axis | int]]
    fixed: str | None


def _frames(model: ClipModel, size: Size | None) -> _Frames:
    encoder: Any = model.encoder
    why = "as asked" if size else _why_fixed(encoder)
    largest = max(encoder.reductions)
    tried = (4 * largest - 1, 3 * largest + 1)  # which tells sizes that are rounded up from those rounded down
    height, width = size or (model.pretrained_cfg["input_size"][-2:] if why else tried)
    with torch.no_grad():
        zeros = next(model.parameters()).new_zeros(1, model.in_chans, height, width)
        found = [tuple(m.shape[-2:]) for m in encoder.encode(zeros)]
    if why:
        frame, maps = [height, width], [list(m) for m in found]
    else:
        ups = [m == (-(-height // r), -(-width // r)) for m, r in zip(found, encoder.reductions, strict=True)]
        downs = [m == (height // r, width // r) for m, r in zip(found, encoder.reductions, strict=True)]
        plain = all(ups) or all(downs)
        frame = [a._replace(free=plain) for a in space(2, 1 if plain else largest)]
        maps = [[_divided(a, r, all(ups)) for a in frame] for r in encoder.reductions]
    if isinstance(model, RecurrentDecoderModel):
        maps.reverse()  # it goes up from the smallest
    return _Frames(frame, maps, why)


def _divided(frame: Any, reduction: int, up: bool) -> Axis:
    sign = "/" if up or not frame.free else "//"  # rounded up or even, or down
    return frame._replace(name=f"{frame.name}{sign}{reduction}", divided=reduction, up=up)


def _why_fixed(encoder: Any) -> str | None:
    """Why an encoder takes frames of one size alone, once it is a graph."""
    if encoder.has_pre_logits:
        return "the encoder's fully connected layers read maps of one size"
    if any(type(m).__name__.endswith("2dSame") for m in encoder.modules()):
        return "the encoder pads by what the size of the map is"
    return None


# ---- what goes in and comes out ---------------------------------------------------------------------------------
class _States:
    """The states of a model's recurrent layers as a file names them, and as the model takes and gives them."""

    def __init__(self, model: ClipModel, maps: Sequence[Sequence[Axis | int]]) -> None:
        self.rnns: list[ConvRNNBase] = _rnns(model)
        self.alone = isinstance(model, VideoModel) and len(self.rnns) == 1
        self.names: list[list[str]] = []
        self.ports: tuple[list[Port], list[Port]] = ([], [])
        dtype, below = next(model.parameters()).dtype, 0
        for rnn, space_of in zip(self.rnns, maps, strict=True):
            self.names.append([])
            for layer, width in enumerate(rnn.widths):
                for end in ("", "_reverse")[: rnn.num_directions]:
                    for s in rnn.states:
                        name = f"{s}_l{below + layer}{end}"
                        self.names[-1].append(name)
                        for ports, side in zip(self.ports, ("in", "out"), strict=True):
                            ports.append(Port(f"{name}_{side}", [BATCH, width, *space_of], dtype))
            below += len(rnn.widths)

    def given(self, inputs: Mapping[str, Tensor]) -> Any:
        """The state as the model takes it."""
        states = [state_of(rnn, [inputs[f"{n}_in"] for n in names])
                  for rnn, names in zip(self.rnns, self.names, strict=True)]  # fmt: skip
        return states[0] if self.alone else states

    def named(self, state: Any) -> list[Tensor]:
        """The tensors of the model's state in the order of the names."""
        states = [state] if self.alone else state
        return [t for rnn, s in zip(self.rnns, states, strict=True) for t in tensors_of(rnn, s)]


def _rnns(model: ClipModel) -> list[Any]:
    found: Any = model
    return [gru.rnn for gru in found.grus] if isinstance(model, RecurrentDecoderModel) else list(found.rnns)


def _pool(model: ClipModel) -> str:
    return pool_of(model) if isinstance(model, VideoModel) else ""


def _outputs(model: ClipModel, leading: Sequence[Axis], frames: _Frames) -> list[Port]:
    dtype, classes = next(model.parameters()).dtype, model.num_classes
    axes: list[list[Axis | int]]
    if isinstance(model, RecurrentDecoderModel):
        axes = [[*leading, classes or model.num_features, *frames.frame]]
    elif _pool(model):
        axes = [[BATCH, classes or model.head_hidden_size]]
    elif len(frames.maps) > 1 and (classes or model.hidden != model.widths):
        raise ExportError("several levels have no answer for every pixel; choose a global_pool")
    else:
        axes = [[*leading, classes or width, *m] for width, m in zip(model.hidden, frames.maps, strict=True)]
    names = ["output"] if len(axes) == 1 else [f"output_{i}" for i in range(len(axes))]
    return [Port(name, a, dtype) for name, a in zip(names, axes, strict=True)]


def _answers(model: ClipModel, features: Any, lengths: Tensor | None) -> list[Tensor]:
    said = model.forward_head(features, lengths=lengths) if isinstance(model, VideoModel) else model.forward_head(
        features
    )  # fmt: skip
    return said if isinstance(said, list) else [said]


def _notes(frames: _Frames, notes: Mapping[str, str]) -> dict[str, Any]:
    return {**notes, **({"frames": f"of {frames.frame[0]}×{frames.frame[1]}: {frames.fixed}"} if frames.fixed else {})}


def _least(model: ClipModel, frames: _Frames) -> dict[str, int]:
    """Two pixels of the smallest map, below which a program of torch.export takes none."""
    least = 1 if frames.fixed or not isinstance(frames.frame[0], Axis) else 2
    if least == 2 and frames.frame[0].free:  # type: ignore[union-attr]
        least *= max(model.encoder.reductions)
    return {"height": least, "width": least}


# ---- the sequence form ------------------------------------------------------------------------------------------
class _Clips(nn.Module):
    """The model on clips, with the loops of its layers in the graph."""

    def __init__(self, model: ClipModel, states: _States | None) -> None:
        super().__init__()
        self.model: Any = loops_in_graph(copy.deepcopy(model))
        self.states = states

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        lengths = inputs.get("lengths")
        hx = self.states.given(inputs) if self.states else None
        features, state = self.model.forward_sequence(inputs["input"], hx, lengths)
        ends = self.states.named(state) if self.states else []
        return (*_answers(self.model, features, lengths), *(end.clone() for end in ends))


def sequence(model: ClipModel, state: bool, lengths: bool | None, size: Size | None) -> Plan:
    """What the sequence form of a model is.

    Raises:
        ExportError: the model has no such answer.
    """
    frames = _frames(model, size)
    states = _States(model, frames.maps) if state else None
    dtype = next(model.parameters()).dtype
    masked = lengths is not False
    time = TIME._replace(free=True)  # torch asks of maps of one pixel what it cannot prove
    inputs = [Port("input", [BATCH, time, model.in_chans, *frames.frame], dtype)]
    inputs += [Port("lengths", [BATCH], torch.int64)] * masked
    outputs = _outputs(model, (BATCH, TIME), frames)
    part = Part(
        _Clips(model, states),
        inputs + (states.ports[0] if states else []),
        outputs + (states.ports[1] if states else []),
    )

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        given = {p.name: p.draw(sizes, i) for i, p in enumerate(part.inputs)}
        x, n = given["input"], given.get("lengths")
        if n is not None:  # what stands behind an end must never be read
            x = given["input"] = torch.where(valid_steps(x, n), x, 1e4)
        said = runs[""](given)
        features, end = model.forward_sequence(x, states.given(given) if states else None, n)
        wanted = _answers(model, features, n) + (states.named(end) if states else [])
        for port, want in zip(part.outputs, wanted, strict=True):
            yield port.name, said[port.name], want

    return Plan({"": part}, trial, _least(model, frames), _notes(frames, {}))


# ---- the step form ----------------------------------------------------------------------------------------------
class _Frame(nn.Module):
    """The model on one frame; pools go on over the frames so far."""

    def __init__(self, model: ClipModel, states: _States, pool: str) -> None:
        super().__init__()
        self.model: Any = loops_in_graph(copy.deepcopy(model), OneStep)
        self.states, self.pool = states, pool

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        # As a clip of one frame: the head of a lone one would pool what it does not pool in a clip.
        features, state = self.model.forward_sequence(inputs["input"].unsqueeze(1), self.states.given(inputs))
        ends = [end.clone() for end in self.states.named(state)]
        if not self.pool:
            return (*(y[:, 0].clone() for y in _answers(self.model, features, None)), *ends)
        levels = features if isinstance(features, list) else [features]
        pooled = torch.cat([POOLS[self.pool](y, None, 1) for y in levels], 1)
        pooled, carried = pool_so_far(self.pool, pooled, inputs)
        return (self.model.classify_pooled(pooled), *ends, *carried)


def step(model: ClipModel, size: Size | None) -> Plan:
    """What the step form of a model is.

    Raises:
        ExportError: the model reads in both directions, or has no such answer.
    """
    if any(rnn.bidirectional for rnn in _rnns(model)):
        raise ExportError(NO_STEP)
    frames, pool = _frames(model, size), _pool(model)
    states = _States(model, frames.maps)
    dtype = next(model.parameters()).dtype
    frame = Port("input", [BATCH, model.in_chans, *frames.frame], dtype)
    outputs = _outputs(model, (BATCH,), frames)
    carried = pool_ports(pool, model.num_features, dtype)
    part = Part(
        _Frame(model, states, pool),
        [frame, *states.ports[0], *carried[0]],
        [*outputs, *states.ports[1], *carried[1]],
    )

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        state = part.zeros(sizes)
        clip = torch.stack([frame.draw(sizes, t) for t in range(sizes["time"])], 1)
        for t in range(clip.shape[1]):
            said = runs[""]({"input": clip[:, t], **state})
            state = states_out(said)
            features = model.forward_sequence(clip[:, : t + 1])[0]
            for port, want in zip(outputs, _answers(model, features, None), strict=True):
                yield f"{port.name} of step {t}", said[port.name], want if pool else want[:, -1]

    meaning = {"output": "of all steps so far" if pool else "of this step"}
    return Plan({"": part}, trial, _least(model, frames), _notes(frames, meaning))

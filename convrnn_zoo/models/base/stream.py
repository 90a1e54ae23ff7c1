"""Models that run as their frames arrive."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ...layers import ConvRNNBase
from ...layers import _checks as check
from ...pretrained.errors import WeightsError
from ...pretrained.state_dict import contiguous, read_safetensors, write_safetensors
from .classifier import Classifier
from .dense import DenseModel
from .sequences import RUNNING_POOLS, Lengths

State = Any
"""A tensor, or a tuple of states; every tensor is a map ``(…, N, C, *S)``."""


def mapped(function: Callable[..., Tensor], *states: State) -> State:
    """The same nesting with `function` of every tensor, or of those that stand in one place of several states."""
    if isinstance(states[0], Tensor):
        return function(*states)
    return tuple(mapped(function, *parts) for parts in zip(*states, strict=True))


def named(state: State, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors by where they stand: ``.0.1`` is the second of the first; the empty name is a tensor alone."""
    if isinstance(state, Tensor):
        yield name, state
    else:
        for i, part in enumerate(state):
            yield from named(part, f"{name}.{i}")


def nested(named: dict[str, Tensor]) -> State:
    """The way back from :func:`named`.

    Example:
        >>> nested({".0": 1, ".1.0": 2, ".1.1": 3})
        (1, (2, 3))
    """
    if "" in named:
        return named[""]
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in named.items():
        first, dot, rest = name[1:].partition(".")
        parts.setdefault(int(first), {})[dot + rest] = tensor
    return tuple(nested(parts[i]) for i in sorted(parts))


class Stream:
    """A model that is fed its sequence piece by piece and holds the state in between.

    Called with the next frames of N sequences, it gives what the model says of them after all that it has read:

    * a sequence model without pooling: the features or logits of these frames, so that a model with an answer for every
      pixel answers for these; unpooled features of several levels are a list;
    * a sequence model with pooling, such as every classifier: features or logits ``(N, …)`` pooled over all frames so
      far, so that after the last piece they are those of the whole sequence;
    * a forecaster: the `horizon` frames that follow, forecast from all frames so far;
    * a layer of the core family: its output for these frames.

    Outputs are detached, and nothing but the state is stored: memory does not grow with the number of frames. The one
    exception is ``e3d_lstm``, whose cells attend to all of their earlier memories; its `max_memories` bounds them, and
    a warning says so. :meth:`reset` restarts some of the N sequences while the others go on.

    Args:
        model: a sequence model of the zoo, a forecaster, or a layer such as :class:`~convrnn_zoo.Conv2dGRU`; in
            evaluation mode. It is used as it is at every call, not copied, so that several streams share its weights.

    Raises:
        ValueError: the model reads in both directions or what it reads as a whole, is in training mode, or is of
            another kind.

    Shapes:
        pieces ``(N, T, C, *S)`` or one frame each ``(N, C, *S)``, also for a layer, whatever its `batch_first`.

    Example:
        >>> import convrnn_zoo
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=2, num_classes=3).eval()
        >>> x = torch.randn(4, 9, 2, 16)
        >>> stream = Stream(model)
        >>> for piece in x.split([4, 4, 1], dim=1):
        ...     logits = stream(piece)
        >>> torch.allclose(logits, model(x), atol=1e-6)
        True
        >>> stream.reset([2])
        >>> stream.steps.tolist()
        [9, 9, 0, 9]
    """

    def __init__(self, model: nn.Module) -> None:
        owner = type(model).__name__
        if isinstance(model, DenseModel) and not hasattr(model, "forward_sequence"):
            raise ValueError(
                f"{owner} answers for an image or a series of them as a whole, and gives no state to go on from; "
                "collect the images and call the model"
            )
        if any(getattr(module, "bidirectional", False) for module in model.modules()):
            raise ValueError(
                f"{owner} reads its sequence in both directions, and a stream has not seen the end from which the "
                "second one starts; take a model of one direction, or collect the sequence and call the model"
            )
        if model.training:
            raise ValueError(f"{owner} is in training mode, in which dropout acts; call model.eval() first")
        if getattr(model, "carry_memory", False):
            raise ValueError(
                f"{owner} was built with carry_memory=True, which hands memories from call to call, and streams would "
                "share them; build it with carry_memory=False"
            )
        if getattr(model, "state_grows", False):
            warnings.warn(
                f"{owner} keeps a memory of every frame, so that the state of a stream grows with each one it reads; "
                "build it with max_memories to bound it, or call reset() between sequences",
                stacklevel=2,
            )
        self.model = model
        self._is_layer = isinstance(model, ConvRNNBase)
        self._is_forecaster = hasattr(model, "encode") and hasattr(model, "decode")
        if not (self._is_layer or self._is_forecaster or hasattr(model, "forward_sequence")):
            raise ValueError(
                f"Stream expected a sequence model, a forecaster that reads frame by frame, or a layer, got {owner}"
            )
        self.state: State = None
        """The state after what was read, as the model gives it; None before the first frame."""
        self.steps: Tensor = torch.zeros(0, dtype=torch.int64)
        """How many frames each sequence has read since it began, ``(N,)``."""
        self._pooled: Tensor | None = None

    # ---- reading -------------------------------------------------------------------------------------------
    @torch.no_grad()
    def __call__(self, x: Tensor, lengths: Lengths | None = None, *, horizon: int | None = None) -> Any:
        """What the model says after it has read the next piece; see the class.

        Args:
            x: the piece: ``(N, T, C, *S)``, or one frame each ``(N, C, *S)``.
            lengths: how many frames of a piece belong to each sequence, from 0, for one that waits and whose state
                stays as it is, to T; for sequence models.
            horizon: frames to forecast; the model's default. For forecasters alone.

        Raises:
            ValueError: a piece of another number of sequences than before, or of a shape that the model refuses.
        """
        if self.model.training:
            raise ValueError(f"{type(self.model).__name__} was put into training mode; call model.eval()")
        if not isinstance(x, Tensor) or x.dim() not in (self._ndim + 2, self._ndim + 3):
            raise ValueError(
                f"Stream of {type(self.model).__name__} expected a piece (N, T, C, …), {self._ndim + 3}-D, or a frame "
                f"each (N, C, …), got {check.describe(x)}; add the missing axes"
            )
        frame = x.dim() == self._ndim + 2
        if frame and lengths is not None:
            raise ValueError(f"lengths came with one frame each, {tuple(x.shape)}; pass pieces (N, T, C, …)")
        x = x.unsqueeze(1) if frame else x
        if self.state is not None and len(x) != len(self.steps):
            raise ValueError(
                f"this stream holds {len(self.steps)} sequences, got a piece of {len(x)}; keep the batch, and use "
                "lengths of 0 for a sequence that waits, or make a new Stream"
            )
        if self._is_forecaster:
            return self._forecast(x, lengths, horizon)
        if horizon is not None:
            raise ValueError(f"horizon came with {type(self.model).__name__}, which forecasts nothing; leave it out")
        taken = self._lengths(x, lengths)
        y, state = self._features(x, None if taken is None else taken.clamp(min=1))
        waiting = None if taken is None or taken.min() > 0 else (taken == 0).to(x.device)
        self._keep(state, len(x), x.shape[1] if taken is None else taken, waiting)
        levels = y if isinstance(y, list) else [y]
        if waiting is not None:
            levels = [torch.where(_rows(waiting, y, 0), 0, y) for y in levels]
        return self._answer(levels, taken, frame)

    def _forecast(self, x: Tensor, lengths: Lengths | None, horizon: int | None) -> Tensor:
        if lengths is not None:
            raise ValueError("lengths came with a forecaster, which reads as many frames of each; leave them out")
        model: Any = self.model
        horizon = model.check_horizon(horizon)
        self._keep(model.encode(x, self.state), len(x), x.shape[1], None)
        return model.decode(self.state, horizon)

    def _features(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor | list[Tensor], State]:
        model: Any = self.model
        if not self._is_layer:
            return model.forward_sequence(x, self.state, lengths)
        if lengths is not None:
            raise ValueError(f"lengths came with the layer {type(model).__name__}; wrap it as a model for them")
        y, state = model(x if model.batch_first else x.transpose(0, 1), self.state)
        return y if model.batch_first else y.transpose(0, 1), state

    def _answer(self, levels: list[Tensor], lengths: Tensor | None, frame: bool) -> Any:
        """What the model's head makes of the features of each level, pooled over all frames so far where it pools."""
        model: Any = self.model
        y = levels[0]
        if not (kind := model.resolve_pool(frame=False) if isinstance(model, Classifier) else ""):
            said = y if self._is_layer else model.forward_head(levels if len(levels) > 1 else y)
            if not frame:
                return said
            return [y[:, 0] for y in said] if isinstance(said, list) else said[:, 0]
        n = torch.full((len(y),), y.shape[1]) if lengths is None else lengths
        before: Sequence[Tensor | None] = [None] * len(levels)
        if self._pooled is not None:
            before = self._pooled.split([level.shape[2] for level in levels], 1)
        pool, steps = RUNNING_POOLS[kind], self.steps.to(y.device)
        self._pooled = torch.cat([pool(b, steps, level, n) for b, level in zip(before, levels, strict=True)], 1)
        answer = model.classify_pooled(self._pooled.to(y.dtype))
        return answer.masked_fill(_rows(self.steps == 0, answer, 0).to(y.device), torch.nan)

    def _keep(self, state: State, n: int, read: int | Tensor, waiting: Tensor | None) -> None:
        """Takes the new state, but for sequences that wait, and counts what was read."""
        if waiting is not None:
            old = mapped(torch.zeros_like, state) if self.state is None else self.state
            state = mapped(lambda o, s: torch.where(_rows(waiting, s, self._axis(s)), o, s), old, state)
        self.state = state
        self.steps = (self.steps if len(self.steps) else torch.zeros(n, dtype=torch.int64)) + read

    def _lengths(self, x: Tensor, lengths: Lengths | None) -> Tensor | None:
        if lengths is None:
            return None
        found = torch.as_tensor(lengths).cpu()
        if found.shape != x.shape[:1] or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
            raise ValueError(f"lengths must be {len(x)} whole numbers, one a sequence, got {check.describe(lengths)}")
        if len(x) and not (found.min() >= 0 and found.max() <= x.shape[1]):
            raise ValueError(f"lengths must be from 0 to the {x.shape[1]} frames of the piece, got {found.tolist()}")
        return found.to(torch.int64)

    # ---- the state -----------------------------------------------------------------------------------------
    @property
    def _ndim(self) -> int:
        model: Any = self.model
        return 2 if self._is_forecaster else model.ndim

    def _axis(self, state: Tensor) -> int:
        """Where the sequences stand in a tensor of the state, ``(…, N, C, *S)``."""
        return state.dim() - self._ndim - 2

    def reset(self, items: Tensor | Sequence[int] | None = None) -> None:
        """Restarts all sequences, or those of `items`.

        Args:
            items: numbers of sequences in the batch, or booleans ``(N,)``, in a list, tensor or array. An empty list
                changes nothing.

        Raises:
            TypeError: `items` are neither whole numbers nor booleans.
            IndexError: a number beyond the batch, or another number of booleans than sequences.
            ValueError: `items` before the first frame, when there is no batch.
        """
        if items is None:
            self.state, self.steps, self._pooled = None, torch.zeros(0, dtype=torch.int64), None
            return
        if self.state is None:
            raise ValueError("reset expected a stream that has read frames, got a new one; it has no items yet")
        chosen = self._chosen(items)
        if not chosen.any():
            return
        self.steps = self.steps.masked_fill(chosen, 0)
        if self._is_forecaster and hasattr(self.model, "reset_state"):
            self.state = self.model.reset_state(self.state, chosen)
            return

        def without(state: Tensor) -> Tensor:
            return torch.where(_rows(chosen.to(state.device), state, self._axis(state)), 0, state)

        self.state = mapped(without, self.state)

    def _chosen(self, items: Any) -> Tensor:
        """Booleans ``(N,)`` of the sequences that :meth:`reset` names."""
        count = len(self.steps)
        try:
            numbers = torch.as_tensor(items).cpu()
        except (TypeError, ValueError, RuntimeError) as e:
            raise TypeError(f"reset expected numbers of sequences or booleans, got {check.describe(items)}") from e
        if numbers.dim() != 1 or (len(numbers) and (numbers.is_floating_point() or numbers.is_complex())):
            raise TypeError(f"reset expected a list of whole numbers or booleans, got {check.describe(items)}")
        if numbers.dtype == torch.bool:
            if len(numbers) != count:
                raise IndexError(f"reset expected a boolean for each of {count} sequences, got {len(numbers)}")
            return numbers
        if not bool(((numbers >= 0) & (numbers < count)).all()):
            raise IndexError(f"reset expected numbers from 0 to {count - 1}, got {numbers.tolist()}")
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[numbers.long()] = True
        return chosen

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state as a safetensors file, whole or not at all, with the checksum of the model's weights.

        Raises:
            ValueError: nothing has been read yet.
        """
        if self.state is None:
            raise ValueError("save expected a stream that has read frames, got a new one; there is no state yet")
        found = {f"state{name}": t for name, t in named(self.state)}
        found |= {"steps": self.steps, "weights_sha256": self._weights_sha256()}
        write_safetensors(found if self._pooled is None else {**found, "pooled": self._pooled}, Path(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Takes over the state of a file that :meth:`save` wrote: what comes next goes on exactly as it would have.

        Raises:
            WeightsError: no such file, damaged, or the state of a model with other weights.
        """
        found = read_safetensors(Path(path), str(path))
        like = next(self.model.parameters())
        if not {"steps", "weights_sha256", "state"} <= {key.partition(".")[0] for key in found}:
            raise WeightsError(f"{path} holds no state of a stream; Stream.save writes such files")
        if not torch.equal(found.pop("weights_sha256"), self._weights_sha256()):
            raise WeightsError(
                f"{path} is the state of a model with other weights, to which it would say something else; load "
                "those weights, in the dtype in which they were used"
            )
        self.steps, pooled = found.pop("steps"), found.pop("pooled", None)
        self._pooled = None if pooled is None else pooled.to(like.device)
        self.state = nested({key.removeprefix("state"): t.to(like.device) for key, t in found.items()})

    def _weights_sha256(self) -> Tensor:
        content = safetensors.torch.save(contiguous(self.model.state_dict()))
        return torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8)


def _rows(mask: Tensor, like: Tensor, axis: int) -> Tensor:
    """A mask of sequences in the shape of a tensor that has them on an axis."""
    return mask.reshape(-1, *(1,) * (like.dim() - axis - 1))

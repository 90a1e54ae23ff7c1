"""Streams, which run a model on frames as they arrive."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ... import _checks as check
from ..._atomic import check_suffix
from ..._hints import warn
from ...layers import ConvRNNBase
from ...layers._states import map_tensors, name_tensors, nest_tensors
from ...pretrained.errors import WeightsError
from ...pretrained.state_dict import contiguous, read_safetensors, uncompiled, write_safetensors
from .classifier import Classifier
from .dense import DenseModel
from .lengths import POOLS, Lengths, check_lengths, update_pool
from .model import reference_tensor

StreamState = Any
"""State of a model: a tensor, or nested tuples of tensors, each ``(…, N, C, *S)``."""


class Stream:
    """A model that receives its sequences piece by piece and stores the state in between.

    Call the stream with the next frames of N sequences. The result depends on the model:

    * a sequence model without pooling returns the features or logits of these frames, or a list of unpooled features
      if it has several levels;
    * a sequence model with pooling, such as most classifiers, returns features or logits ``(N, …)`` pooled over all
      frames so far. After the last piece, they equal those of the complete sequence;
    * a forecaster reads all frames so far and returns its forecast of the next `horizon` frames;
    * a recurrent layer returns its output for these frames.

    Outputs are detached, and only the state is stored. Memory thus does not grow with the number of frames, except for
    ``e3d_lstm`` without `max_memories`, whose cells attend to all of their earlier memories.
    :meth:`reset` restarts some of the N sequences while the others continue.

    Args:
        model: a sequence model, a forecaster or a layer of the zoo. It must be in evaluation mode. The model is not
            copied, so that several streams can share its weights. A layer may be compiled. ``torch.compile(model)``
            compiles only ``forward``, which a stream of a model does not call: compile the methods that it calls, as
            in ``model.forward_sequence = torch.compile(model.forward_sequence)``; for forecasters, these are ``encode``
            and ``decode``.

    Raises:
        ValueError: the model is of another type, is bidirectional, reads known inputs, needs complete sequences, is
            in training mode, or is a compiled model.

    Shapes:
        pieces ``(N, T, C, *S)``, or one frame per sequence ``(N, C, *S)``; layers ignore their `batch_first` here.

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
        self._layer = model  # called only if it is a layer, which may be compiled
        model = uncompiled(model)
        is_compiled = model is not self._layer or getattr(model, "_compiled_call_impl", None) is not None
        owner, has_sequence = type(model).__name__, hasattr(model, "forward_sequence")
        is_bidirectional = any(getattr(module, "bidirectional", False) for module in model.modules())
        for is_met, obstacle in (
            (isinstance(model, DenseModel) and not has_sequence, "needs complete images or series; call the model"),
            (is_bidirectional, "reads sequences in both directions; take a model of one direction, or call the model"),
            (model.training, "is in training mode, in which dropout acts; call model.eval() first"),
            (getattr(model, "known_chans", 0), "reads static or future inputs; collect the frames and call forecast"),
        ):
            if is_met:
                raise ValueError(f"{owner} {obstacle}")
        if getattr(model, "state_grows", False):
            hint = "build it with max_memories, or call reset() between sequences"
            warn(f"{owner} keeps a memory of every frame, so that its state grows; {hint}")
        self.model: Any = model
        self._is_layer = isinstance(model, ConvRNNBase)
        self._is_forecaster = hasattr(model, "encode") and hasattr(model, "decode")
        if not (self._is_layer or self._is_forecaster or has_sequence):
            raise ValueError(f"Stream expected a sequence model, an encoding forecaster or a layer, got {owner}")
        if is_compiled and not self._is_layer:
            method = "encode" if self._is_forecaster else "forward_sequence"
            raise ValueError(
                f"this {owner} is compiled, and a stream does not call its forward; pass the model before torch.compile"
                f", after model.{method} = torch.compile(model.{method})"
            )
        self._ndim: int = getattr(model, "ndim", 2)
        self.state: StreamState = None
        """State of the model after the frames so far; None before the first frame."""
        self.steps: Tensor = torch.zeros(0, dtype=torch.int64)
        """Number of frames of each sequence since its start or its last reset, ``(N,)``."""
        self._pooled: Tensor | None = None

    # ---- reading -------------------------------------------------------------------------------------------
    @torch.no_grad()
    def __call__(self, x: Tensor, lengths: Lengths | None = None, *, horizon: int | None = None) -> Any:
        """Reads the next piece and returns the output of the model, as :class:`Stream` describes.

        Args:
            x: the piece: ``(N, T, C, *S)``, or one frame per sequence ``(N, C, *S)``.
            lengths: number of frames of each sequence in the piece, from 0 to T. A sequence of length 0 keeps its
                state. Its pooled output is NaN if it has had no frame yet. Only for sequence models.
            horizon: frames to forecast; by default the model's `horizon`. Only for forecasters.

        Raises:
            ValueError: the piece has another number of sequences than before, or a shape that the model rejects. The
                state of the stream is then unchanged.
        """
        before = self.state, self.steps, self._pooled
        try:
            return self._read(x, lengths, horizon)
        except BaseException:
            self.state, self.steps, self._pooled = before
            raise

    def _read(self, x: Tensor, lengths: Lengths | None, horizon: int | None) -> Any:
        if self.model.training:
            raise ValueError(f"{type(self.model).__name__} was put into training mode; call model.eval()")
        ndim = self._ndim
        if not isinstance(x, Tensor) or x.dim() not in (ndim + 2, ndim + 3):
            expected = f"a piece (N, T, C, …), {ndim + 3}-D, or a frame each (N, C, …)"
            raise ValueError(f"Stream expected {expected}, got {check.describe(x)}; add the missing axes")
        owner, frame = type(self.model).__name__, x.dim() == ndim + 2
        for is_met, problem in (
            (
                frame and lengths is not None,
                f"lengths are only valid for pieces (N, T, C, …), got {tuple(x.shape)}; leave them out",
            ),
            (
                self.state is not None and len(x) != len(self.steps),
                f"this stream holds {len(self.steps)} sequences, got a piece of {len(x)}; keep the batch, with lengths "
                "of 0 for a sequence without frames, or make a new Stream",
            ),
            (
                self._is_forecaster and lengths is not None,
                "lengths are not valid for a forecaster: its sequences are equally long; leave them out",
            ),
            (
                not self._is_forecaster and horizon is not None,
                f"horizon is only for forecasters, not {owner}; leave it out",
            ),
        ):
            if is_met:
                raise ValueError(problem)
        x = x.unsqueeze(1) if frame else x
        if self._is_forecaster:
            horizon = self.model.check_horizon(horizon)
            self._update(self.model.encode(x, self.state), len(x), x.shape[1], None)
            return self.model.decode(self.state, horizon)
        counts = None if lengths is None else check_lengths(lengths, len(x), x.shape[1], 0)
        y, state = self._features(x, None if counts is None else counts.clamp(min=1))
        skipped = None if counts is None or bool((counts > 0).all()) else (counts == 0).to(x.device, non_blocking=True)
        self._update(state, len(x), x.shape[1] if counts is None else counts, skipped)
        levels = y if isinstance(y, list) else [y]
        if skipped is not None:
            levels = [torch.where(_rows(skipped, y, 0), 0, y) for y in levels]
        return self._output(levels, counts, frame)

    def _features(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor | list[Tensor], StreamState]:
        model = self.model
        if not self._is_layer:
            return model.forward_sequence(x, self.state, lengths)
        if lengths is not None:
            raise ValueError(f"lengths are only for models, not layers such as {type(model).__name__}; leave them out")
        y, state = self._layer(x if model.batch_first else x.transpose(0, 1), self.state)
        return y if model.batch_first else y.transpose(0, 1), state

    def _output(self, levels: list[Tensor], lengths: Tensor | None, frame: bool) -> Any:
        """Applies the head to the features of each level, pooled over all frames so far if the model pools."""
        model, y = self.model, levels[0]
        if not (kind := model.resolve_pool(frame=False) if isinstance(model, Classifier) else ""):
            output = y if self._is_layer else model.forward_head(levels if len(levels) > 1 else y)
            if not frame:
                return output
            return [y[:, 0] for y in output] if isinstance(output, list) else output[:, 0]
        n = torch.full((len(y),), y.shape[1]) if lengths is None else lengths
        n, exact = n.to(y.device, non_blocking=True), torch.promote_types(y.dtype, torch.float32)
        new = torch.cat([POOLS[kind](level.to(exact), n.clamp(min=1), 1) for level in levels], 1)
        if self._pooled is not None:
            new = update_pool(kind, self._pooled, new, n, self.steps.to(y.device, non_blocking=True))
        self._pooled = new
        output = model.classify_pooled(self._pooled.to(y.dtype))
        return output.masked_fill(_rows(self.steps == 0, output, 0).to(y.device, non_blocking=True), torch.nan)

    def _update(self, state: StreamState, n: int, read: int | Tensor, skipped: Tensor | None) -> None:
        """Stores the new state except where `skipped` is true, and adds the number of frames `read` to the steps."""
        if skipped is not None:
            before = self._first_state(state) if self.state is None else self.state
            state = self._merge(skipped, before, state)
        self.state = state
        self.steps = (self.steps if len(self.steps) else torch.zeros(n, dtype=torch.int64)) + read

    # ---- the state -----------------------------------------------------------------------------------------
    def _merge(self, mask: Tensor, state: StreamState, other: StreamState) -> StreamState:
        """Merges two states: takes `state` for the sequences where `mask` ``(N,)`` is true, else `other`."""

        def merge(s: Tensor, o: Tensor) -> Tensor:  # (…, N, C, *S)
            return torch.where(_rows(mask.to(s.device, non_blocking=True), s, s.dim() - self._ndim - 2), s, o)

        return map_tensors(merge, state, other)

    def reset(self, items: Tensor | Sequence[int] | None = None) -> None:
        """Restarts all sequences, or only those that `items` selects by index in the batch or by booleans ``(N,)``.

        Raises:
            TypeError: `items` are neither whole numbers nor booleans.
            IndexError: an index is out of range, or there are not N booleans.
            ValueError: `items` are given before the first frame, when N is not known yet, or the model is an
                ``e3d_lstm``, whose sequences all have the same number of memories.
        """
        if items is None:
            self.state, self.steps, self._pooled = None, torch.zeros(0, dtype=torch.int64), None
            return
        if self.state is None:
            raise ValueError("reset expected a stream that has read frames, got a new one; it has no items yet")
        selected = self._select(items)
        if not selected.any():
            return
        if hasattr(self.model, "reset_state"):
            self.state = self.model.reset_state(self.state, selected)
        else:
            self.state = self._merge(selected, self._first_state(self.state), self.state)
        self.steps = self.steps.masked_fill(selected, 0)

    @torch.no_grad()
    def _first_state(self, state: StreamState) -> StreamState:
        """Returns the initial state (zeros or learned) in the structure and sizes of `state`."""
        layers = [m for m in self.model.modules() if isinstance(m, ConvRNNBase) and m.learn_initial_state]
        if not layers:
            return map_tensors(torch.zeros_like, state)
        if len(layers) == 1:
            return layers[0].initial_state(state)
        return tuple(layer.initial_state(part) for layer, part in zip(layers, state, strict=True))

    def _select(self, items: Any) -> Tensor:
        """Checks the `items` of :meth:`reset`, and returns booleans ``(N,)`` that are true for them."""
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
        selected = torch.zeros(count, dtype=torch.bool)
        selected[numbers.long()] = True
        return selected

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state to a safetensors file, atomically, with the checksum of the model's weights.

        Raises:
            ValueError: no frame has been read yet, or the name of the file does not end in ``.safetensors``.
        """
        if self.state is None:
            raise ValueError("save expected a stream that has read frames, got a new one; there is no state yet")
        check_suffix(Path(path), (".safetensors",))
        tensors = {f"state{name}": t for name, t in name_tensors(self.state)}
        tensors |= {"steps": self.steps, "weights_sha256": self._weights_sha256()}
        write_safetensors(tensors if self._pooled is None else {**tensors, "pooled": self._pooled}, Path(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Loads a state from a file that :meth:`save` wrote; the stream then continues from that state.

        Raises:
            WeightsError: the file is damaged, or is the state of a model with other weights.
            HubAccessError: (an OSError) the file does not exist.
        """
        tensors = read_safetensors(Path(path), str(path))
        like = reference_tensor(self.model)
        if not {"steps", "weights_sha256", "state"} <= {key.partition(".")[0] for key in tensors}:
            raise WeightsError(f"{path} holds no state of a stream; Stream.save writes such files")
        if not torch.equal(tensors.pop("weights_sha256"), self._weights_sha256()):
            raise WeightsError(f"{path} is the state of a model with other weights, dtype or pool; load those weights")
        self.steps, pooled = tensors.pop("steps"), tensors.pop("pooled", None)
        self._pooled = None if pooled is None else pooled.to(like.device)
        self.state = nest_tensors({key.removeprefix("state"): t.to(like.device) for key, t in tensors.items()})

    def _weights_sha256(self) -> Tensor:
        content = safetensors.torch.save(contiguous(self.model.state_dict()))
        content += str(getattr(self.model, "global_pool", "")).encode()  # which has no weights
        return torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8)


def _rows(mask: Tensor, like: Tensor, axis: int) -> Tensor:
    """Reshapes a mask ``(N,)`` of sequences to broadcast with `like`, a tensor whose batch axis is `axis`."""
    return mask.reshape(-1, *(1,) * (like.dim() - axis - 1))

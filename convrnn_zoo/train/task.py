"""The part of training that all recipes share: the trainer of one model, and its initial weights."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from timm.models import group_parameters
from torch import nn

from .._extras import need
from ..data import CroppedSequences, Labelled
from ..models import Forecaster, VideoModel, ZooModel, from_pretrained
from ..pretrained.metadata import Metric
from ..pretrained.state_dict import adapt_state_dict, check_state_dict
from ..recipes import Recipe
from .custom import Custom
from .launch import Processes
from .loader import BatchLoader
from .loop import Trainer
from .optim import create_optimizer, create_schedule

logger = logging.getLogger(__name__)


class TaskTrainer(Trainer):
    """Trains the model of a recipe with one seed.

    A subclass builds the model of the recipe, and has the methods of :class:`Trainer` and :attr:`load_data`,
    :meth:`describe` and :meth:`score`. Its constructor takes the training and the validation data, and forwards
    `checkpoint`, `name`, `processes`, `custom` and `progress` to this one.

    Args:
        model: the model of the recipe.
        read: reads the batch of a request; see :class:`BatchLoader`.
        max_steps: number of updates.
        trained_on: checksums of the data, which a resumed run compares.
        network: module whose ``forward`` is called in training, by default the model.
        name: name of a variant of the recipe, which is part of the title and of the checkpoint.
    """

    model: Any
    network: nn.Module
    loader: BatchLoader
    first_checkpoint: ClassVar[str]
    """Name of the checkpoint of the first seed; the others have that of their seed."""
    load_data: ClassVar[Callable[..., Sequence[Any]]]
    """Function ``(recipe, data, splits)`` that returns the part of the data of each split."""

    def __init__(
        self,
        recipe: Recipe,
        model: ZooModel,
        read: Any,
        *,
        seed: int,
        max_steps: int,
        trained_on: dict[str, Any],
        network: nn.Module | None = None,
        checkpoint: Path | None = None,
        name: str = "",
        processes: Processes | None = None,
        custom: Custom | None = None,
        progress: bool = True,
    ) -> None:
        processes, self.custom = processes or Processes(), custom or Custom()
        if checkpoint is not None:  # for the figures: an error now, not after training
            need("matplotlib.figure", "draw")
            need("matplotlib.backends.backend_agg", "draw")
        has_unused = bool(recipe.freeze_steps) or getattr(model, "has_frame_encoder", False)
        network = processes.prepare(model if network is None else network, recipe, find_unused=has_unused)
        optimizer = self.custom.build_optimizer(model, partial(create_optimizer, recipe))
        seed_title = f"seed {seed}" if len(recipe.seeds) > 1 else ""  # type: ignore[arg-type]
        super().__init__(
            recipe=recipe,
            model=model,
            optimizer=optimizer,
            scheduler=self.custom.build_schedule(optimizer, max_steps, partial(create_schedule, recipe)),
            max_steps=max_steps,
            fingerprint=recipe.fingerprint(
                processes=processes.count, seed=seed, name=name, trained_on=trained_on, **self.custom.names()
            ),
            network=network,
            loader=BatchLoader(read, processes, workers=recipe.workers, seed=seed),
            seed=seed,
            checkpoint=checkpoint,
            title=", ".join(filter(None, (recipe.weights, seed_title, name))),
            progress=progress,
            processes=processes,
            callbacks=self.custom.callbacks,
            series=seed_title.replace(" ", ""),
            frozen=frozen_parameters(model, recipe.init_from) if recipe.freeze_steps else (),
            frozen_steps=recipe.freeze_steps,
        )

    def describe(self, test: Any, validation: Any = None) -> dict[str, Any]:
        """Returns the fields of the metadata that the recipe does not state."""
        raise NotImplementedError(f"{type(self).__name__} must implement describe")

    def score(self, test: Any, train: Any) -> Sequence[Metric]:
        """Returns the metrics of the trained model on the test part, and of baselines from the training part."""
        raise NotImplementedError(f"{type(self).__name__} must implement score")


def identify_part(part: Any) -> str:
    """Returns a checksum of the names of recordings, or of the files and times of frames; empty if there are none."""
    names = list(part.names) if isinstance(part, Labelled) else []
    if isinstance(part, CroppedSequences):
        for frames in part.files:
            name = frames.name if len(part.files) > 1 else ""  # one file may be renamed
            names.append(f"{name} {frames.dates[0] if frames.is_dated else frames.start} {len(frames)}")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12] if names else ""


def warn_if_other_part(metadata: Any, data: Any, part: Any) -> None:
    """Logs a warning if the training part of a dataset is not the one that weights with this metadata were trained on.

    Where the recipe lists the files of the test part, other training data do not change it.
    """
    trained = metadata.training_part if metadata else ""
    if trained and isinstance(getattr(data, "split", None), str) and identify_part(part) not in ("", trained):
        logger.warning(
            "these are not the data of the training: their training part is another one, so that data which were "
            "trained on can be in the test part, and the scores too good; list test files in the recipe's data.split"
        )


# ---- initial weights -----------------------------------------------------------------------------------------
def load_initial_weights(
    model: ZooModel,
    architecture: str,
    init_from: str,
    label_names: Sequence[str] = (),
    variables: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Loads the weights `init_from` into a model; raises ValueError if they are of another `architecture`.

    A classifier with another number of classes than the weights has a random head. If its number of input channels
    differs, timm's rule adapts the input weights. A forecaster with another number of input channels has random input
    and output layers. Warnings state each of these, and whether the head was trained for classes other than
    `label_names`. Other differences raise ValueError, and so do channels in another order than the `variables`,
    `future`, `static` and `targets` that the recipe lists.
    """
    source = from_pretrained(init_from)
    if source.pretrained_cfg["architecture"] != architecture:
        raise ValueError(
            f"the recipe's init_from must be weights of {architecture}, got {init_from!r} of "
            f"{source.pretrained_cfg['architecture']}"
        )
    trained = list(source.pretrained_cfg.get("label_names") or ())
    if trained and label_names and trained != list(label_names):
        head = "random" if len(trained) != len(label_names) else "kept, and other classes are trained with it"
        logger.warning("%s classifies %s, not %s: its head is %s", init_from, _few(trained), _few(label_names), head)
    if source.in_chans == getattr(model, "in_chans", None):
        for role, names in (variables or {}).items():
            before = [getattr(v, "name", v) for v in getattr(source.preprocessing, role, ())]
            if any(a != b and (a in names or b in before) for a, b in zip_longest(before, names)):
                raise ValueError(
                    f"the recipe's data.{role} must be in the order of the channels of init_from, {', '.join(before)}; "
                    f"got {', '.join(names)}"
                )
    initial = model.state_dict()
    in_chans = model.in_chans if isinstance(model, Forecaster) else source.in_chans  # its new layers are random
    cfg, num_classes = model.pretrained_cfg, source.num_classes
    state = adapt_state_dict(source.state_dict(), model, cfg, in_chans, num_classes, init_from)
    if not isinstance(model, Forecaster) and source.in_chans != model.in_chans:
        logger.warning(
            "%s has %d channels, not %d: timm's rule makes input weights for them",
            init_from,
            source.in_chans,
            model.in_chans,
        )
    if isinstance(model, Forecaster) and source.in_chans != model.in_chans:
        new = [k for k, v in initial.items() if k not in state or state[k].shape != v.shape]
        logger.warning("%s: %s are new, for %d channels", init_from, ", ".join(new), model.in_chans)
        state |= {k: initial[k] for k in new}
    check_state_dict(state, model, init_from)
    model.load_state_dict(state)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)})" if len(names) > 10 else "")


def frozen_parameters(model: ZooModel, init_from: str = "") -> list[nn.Parameter]:
    """Returns the parameters that the recipe's `freeze` freezes: all but those of timm's last group, the head.

    For a video model without `init_from`, they are the parameters of the encoder.

    Example:
        >>> model = VideoModel("resnet18", num_classes=2, device="meta")
        >>> len(frozen_parameters(model)) == len(list(model.encoder.parameters()))
        True
    """
    if isinstance(model, VideoModel) and not init_from:
        return list(model.encoder.parameters())
    depth = group_parameters(model, model.group_matcher(), reverse=True)
    return [p for name, p in model.named_parameters() if depth[name] < max(depth.values())]


def freeze_encoder(model: ZooModel, freeze: bool) -> None:
    """Freezes or unfreezes the encoder of a video model. A frozen encoder has no gradients and fixed norm statistics.

    Other models are unchanged. An encoder that was built with ``freeze_encoder=True`` stays frozen.
    """
    if isinstance(model, VideoModel):
        model.encoder.paused = freeze
        model.encoder.train(model.training)

"""Fine-tuning: the initial weights of a run, and the parameters that are frozen at first."""

import logging
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from timm.models import group_parameters
from torch import nn

from ..models import Forecaster, VideoModel, ZooModel, from_pretrained
from ..pretrained.state_dict import adapt_state_dict, check_state_dict

logger = logging.getLogger(__name__)


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

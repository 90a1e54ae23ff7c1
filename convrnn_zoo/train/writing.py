"""Writing of trained weights with their metadata: as two files for the package, or as a repository of the Hub."""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from .._atomic import write_text
from ..hub import save_pretrained
from ..hub.cards import weights_card
from ..hub.save import model_config
from ..models import ZooModel
from ..pretrained.config import CARD, WEIGHTS_FILE
from ..pretrained.metadata import WeightsMetadata
from ..pretrained.state_dict import write_safetensors
from ..recipes import RECIPES, Recipe
from .loop import CHECKPOINTS, differences, is_changeable

METADATA, RECIPE = "metadata.json", "recipe.toml"
"""Metadata and recipe: files in the directory of a run that other repositories do not have."""

ADDRESS = "ADDRESS-OF-THE-RUN"
"""Placeholder for the directory of a run in its card."""


def check_writable(out: Path, into: Path | None, recipe: Recipe) -> None:
    """Creates a directory before training, and checks that the weights of a recipe can be written to it.

    A ``recipe.toml`` in `out` must be equal to the recipe, or differ in keys that may change when its run is resumed;
    then there must be a checkpoint. Without a ``recipe.toml``, it must not contain other weights. In `into`, the same
    recipe may replace its weights.

    Raises ValueError if files of another recipe would be overwritten, which names the keys that differ, and OSError if
    the directory cannot be created or written to.
    """
    directory = into or out
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OSError(f"{directory} cannot be made ({e.strerror}); choose another -o") from e
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError(f"{directory} may not be written to; choose another -o, or change its rights")
    file = into / f"{recipe.weights}.json" if into else out / RECIPE
    is_resumed = into is not None or any(out.glob(CHECKPOINTS))
    if file.exists():
        try:
            text = WeightsMetadata.from_json(file.read_text(encoding="utf-8")).recipe if into else ""
            saved = Recipe.parse(text) if into else Recipe.read(file)
        except ValueError:
            saved = None
        others = conflicts(saved, recipe) if saved else ""
        if saved != recipe and (saved is None or others or not is_resumed):
            kind, fix = ("of another recipe", "name") if into else ("another recipe", "-o")
            raise ValueError(f"{file} is {kind}{others} and would be overwritten; remove it, or choose another {fix}")
    elif not is_resumed and (out / WEIGHTS_FILE).exists():
        raise ValueError(f"{out} has the weights of another model, which would be overwritten; choose another -o")


def conflicts(saved: Recipe, recipe: Recipe) -> str:
    """Lists the keys that prevent `recipe` from resuming a run of `saved`, for a message; empty if there are none."""
    seeds = [getattr(r, "seeds", (None,))[0] for r in (saved, recipe)]  # the weights are those of the first one
    runs = [json.loads(r.fingerprint(seeds=seed)) for r, seed in zip((saved, recipe), seeds, strict=True)]
    for run in runs:
        run.pop("sequences_per_update")  # the checkpoint has that of all processes
    fields = [field for field in differences(*map(json.dumps, runs)) if not is_changeable(field)]
    return f", with {', '.join(fields)}," if fields else ""


def write_weights(
    recipe: Recipe, model: ZooModel, data: Any, out: Path, into: Path | None, **fields: Any
) -> WeightsMetadata:
    """Writes weights and metadata: two files in the directory `into` if it is set, else a repository in `out`.

    Each file is written atomically, the weights first. The other files contain the checksum of the weights, so that
    files of different runs cannot be mixed.

    `fields` are further fields of :class:`~convrnn_zoo.WeightsMetadata`. Its `mean` is 0 and its `std` 1 by default,
    and there are no `metrics`: a second call adds those of the final evaluation. A card that the user has changed is
    kept. Raises the errors of :func:`check_writable`: another run may have written its weights in the meantime.
    """
    check_writable(out, into, recipe)
    text = recipe.to_toml()
    name = recipe.name if into and recipe.name in RECIPES else text
    file = into / f"{recipe.weights}.safetensors" if into else out / WEIGHTS_FILE
    args = {k: v for k, v in model_config(model)["model_args"].items() if k not in ("in_chans", "num_classes")}
    metadata = WeightsMetadata(
        name=recipe.weights,
        sha256=write_safetensors(model.state_dict(), file),
        in_chans=model.in_chans,
        num_classes=model.num_classes,
        preprocessing=model.preprocessing,
        front_end=model.front_end,
        num_params=sum(p.numel() for p in model.parameters()),
        task=data.task,
        dataset=data.title,
        dataset_license=data.license,
        dataset_url=data.url,
        recipe=name,
        license=recipe.license,
        description=recipe.description,
        citation=recipe.citation,
        remarks=recipe.remarks,
        model_args=args,
        **{
            "split": data.split_words,
            "metrics": (),
            "label_names": (),
            "mean": (0.0,) * model.in_chans,
            "std": (1.0,) * model.in_chans,
            **fields,
        },
    )
    if into:
        metadata.save(into)
        return metadata
    cfg = {k: v for k, v in metadata.cfg().items() if k not in ("file", "hf_hub_id")}
    model.pretrained_cfg.update(cfg, tag=metadata.name.partition(".")[2])
    model.metadata = metadata
    with contextlib.suppress(OSError, ValueError):  # no metadata, or damaged ones
        if has_generated_card(WeightsMetadata.from_json((out / METADATA).read_text(encoding="utf-8")), out):
            (out / CARD).unlink()  # else it would be kept, with the scores of other weights
    save_pretrained(model, out)
    write_text(out / METADATA, metadata.to_json())
    if not (out / RECIPE).exists() or Recipe.read(out / RECIPE) != recipe:  # else it may have the user's comments
        write_text(out / RECIPE, text)
    return metadata


def has_generated_card(metadata: WeightsMetadata, out: Path) -> bool:
    """Returns whether the directory `out` has the card of weights, without changes by the user.

    The card names the directory for which it was written: the run may have been moved since.
    """
    card = out / CARD
    if not card.is_file():
        return False
    pattern = ".+?".join(map(re.escape, weights_card(metadata, ADDRESS).split(ADDRESS)))
    return re.fullmatch(pattern, card.read_text(encoding="utf-8", errors="replace")) is not None

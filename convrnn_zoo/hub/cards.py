"""Model cards, from the metadata of weights or from a model."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import nn

from ..pretrained.errors import WeightsError
from ..pretrained.metadata import WEIGHTS, Metric, WeightsMetadata
from ..values.steps import describe_step

_TAGS = ["timm", "pytorch", "convrnn-zoo", "convolutional-rnn"]
# Ids of tasks, metrics and datasets on the Hub. Others are given in the tags and in the text only.
_PIPELINES = {
    **{t: t for t in ("audio-classification", "time-series-forecasting", "video-classification", "video-to-video")},
    **dict.fromkeys(("next-frame-prediction", "precipitation-nowcasting", "video-prediction"), "video-to-video"),
}
_METRICS = {"accuracy": "accuracy", "f1": "f1", "f1-score": "f1", "mae": "mae", "mse": "mse", "r-squared": "r_squared"}
_DATASETS = {
    "Digit Motion": "ylecun/mnist",
    "Moving MNIST": "ylecun/mnist",
    "Moving Fashion-MNIST": "zalando-datasets/fashion_mnist",
}


def slug(text: str) -> str:
    """Returns text in lower case with hyphens, as the Hub writes its tags."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def check_card(card: ModelCard) -> ModelCard:
    """Checks a card offline and returns it. The Hub checks the card again when it is pushed.

    Raises:
        WeightsError: the card is invalid; the message lists every error.

    Example:
        >>> check_card(ModelCard("---\\nlicense: other\\n---\\n"))
        Traceback (most recent call last):
        ...
        convrnn_zoo.pretrained.errors.WeightsError: the card is invalid: license 'other' needs a license_name
    """
    data: Any = card.data
    errors = []
    if not data.license:
        errors.append("no license; name one of the Hub's, such as mit, or other with license_name")
    elif "other" in _as_list(data.license) and not data.license_name:
        errors.append("license 'other' needs a license_name")
    for field in ("tags", "datasets", "metrics"):
        if wrong := [v for v in _as_list(data.get(field)) if not isinstance(v, str) or not v]:
            errors.append(f"{field} must be words, got {wrong}")
    for result in data.eval_results or []:
        if not _is_finite(result.metric_value):
            value = f"{result.metric_type!r} is {result.metric_value!r}"
            errors.append(f"metric {value}, expected a finite number; leave out what was not measured")
        fields = ("dataset_name", "dataset_type", "metric_type", "task_type")
        errors += [f"a result of the model-index lacks {field}" for field in fields if not getattr(result, field)]
    if errors:
        raise WeightsError(f"the card is invalid: {'; '.join(errors)}")
    return card


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or [])


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def card_text(metadata: WeightsMetadata, address: str | None = None) -> str:
    """Returns the card of a set of weights.

    Args:
        metadata: metadata of the weights.
        address: directory or repository that the example code of the card loads, for weights that are not in the zoo.

    Example:
        >>> from convrnn_zoo import WEIGHTS
        >>> [line for line in card_text(WEIGHTS["convgru_forecaster.rain"]).splitlines() if line.startswith("# ")]
        ['# convgru_forecaster.rain']
    """
    shape = f"(N, {', '.join(map(str, metadata.input_shape))})"
    has_recipe = "\n" in metadata.recipe  # otherwise the name of a recipe of the package
    network = _describe_network(metadata.architecture, metadata.model_args, metadata.num_params)
    points = [f"{network}; input `{shape}`.", f"sha256 of the weights: `{metadata.sha256}`."]
    if metadata.label_names:
        points.append(f"Classes: {', '.join(metadata.label_names)}.")
    if metadata.threshold is not None:
        points.append(
            f"Threshold: 95 % of the validation recordings have a probability of at least {metadata.threshold:g}. A "
            "sound below it is probably none of the classes."
        )
    trained_on = f"[{metadata.trained_on}]({metadata.dataset_url})" if metadata.dataset_url else metadata.trained_on
    stated = "" if metadata.dataset_license else " (licence not stated)"
    call = f'from_pretrained("{address}")' if address else f'create_model("{metadata.name}", pretrained=True)'
    recipe = f", with the recipe {'below' if has_recipe else f'`{metadata.recipe}`'}" if metadata.recipe else ""
    dataset = _DATASETS.get(metadata.dataset)
    end = [f"## Citation\n\n{metadata.citation}"] if metadata.citation else []
    end += [f"## Recipe\n\n```toml\n{metadata.recipe.strip()}\n```"] if has_recipe else []
    datasets = [dataset] if dataset else []
    data = _card_data(metadata.name, metadata.architecture, metadata.metrics, metadata.task, datasets, metadata.license)
    return str(
        _card(
            data,
            [metadata.description, _usage(call, _example(metadata, shape), metadata.hub_id)],
            [metadata.remarks, "\n".join(f"- {point}" for point in points)],
            f"{trained_on}{stated}{recipe}.",
            _results(metadata.metrics, metadata.model_args.get("horizon")),
            end,
        )
    )


def weights_card(metadata: WeightsMetadata, address: str) -> str:
    """Returns the card of the weights at `address`, whose example loads the weights of the zoo by their name."""
    shipped = WEIGHTS.get(metadata.name)
    has_name = metadata.origin or (shipped and shipped.sha256 == metadata.sha256)
    return card_text(metadata, None if has_name else address)


def model_card(
    model: nn.Module,
    repo_id: str,
    *,
    license: str = "other",
    license_name: str | None = None,
    description: str = "",
    task: str = "",
    datasets: Iterable[str] = (),
    metrics: Iterable[Metric] = (),
    tags: Iterable[str] = (),
) -> ModelCard:
    """Returns a card for a model without weights metadata.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm built by a name of the zoo.
        repo_id: ``owner/name``.
        license: id of a licence on the Hub, such as "mit". Any other licence is "other" with a `license_name`.
        license_name: name of the licence if `license` is "other"; "unstated" by default.
        description: purpose of the model, in a sentence or two.
        task: name of the task, such as "video classification". It becomes a tag, and the pipeline tag if the Hub has
            one for it.
        datasets: ids of datasets on the Hub.
        metrics: measured metrics. They become the results on the first of the `datasets`. Those on frames that are
            generated from a dataset of the Hub, such as Moving MNIST, become results on a dataset of that name.
        tags: additional tags.

    Raises:
        WeightsError: the card is invalid.
    """
    cfg: Any = model.pretrained_cfg
    args: Any = getattr(model, "model_args", {})
    network = _describe_network(cfg["architecture"], args, sum(p.numel() for p in model.parameters()))
    datasets, metrics, name = list(datasets), list(metrics), repo_id.split("/")[-1]
    data = _card_data(name, cfg["architecture"], metrics, task, datasets, license, license_name, tags)
    return _card(
        data,
        [description, _usage(f'from_pretrained("{repo_id}")', [], repo_id)],
        [f"{network}; {model.in_chans} channels of input, {model.num_classes} classes."],
        f"{', '.join(datasets) or 'Not stated'}.",
        _results(metrics),
    )


def _card_data(
    name: str,
    architecture: str,
    metrics: Sequence[Metric],
    task: str,
    datasets: list[str],
    license: str,
    license_name: str | None = None,
    tags: Iterable[str] = (),
) -> ModelCardData:
    """Returns the metadata of a card."""
    pipeline = _PIPELINES.get(slug(task))
    results = [
        EvalResult(
            task_type=pipeline or slug(task) or "other",
            # Frames that are generated from a dataset of the Hub give no results on that dataset.
            dataset_type=slug(m.dataset) or "other" if m.dataset in _DATASETS or not datasets else datasets[0],
            dataset_name=m.dataset,
            dataset_split=m.split,
            metric_name=f"{m.name} ({m.unit})" if m.unit else m.name,
            metric_type=_METRICS.get(key := slug(re.split(r",| \d| of ", m.name)[0]), key or "other"),
            metric_value=m.value,
        )
        for m in metrics
    ]
    return ModelCardData(
        license=license,
        license_name=(license_name or "unstated") if license == "other" else None,
        library_name="convrnn_zoo",
        pipeline_tag=pipeline,
        datasets=datasets or None,
        metrics=sorted({_METRICS[slug(m.name)] for m in metrics if slug(m.name) in _METRICS}) or None,
        tags=[*_TAGS, *filter(None, [slug(task)]), architecture, *tags],
        model_name=name,
        eval_results=results or None,
    )


def _card(
    data: ModelCardData,
    uses: Sequence[str],
    limitations: Sequence[str],
    training: str,
    evaluation: Sequence[str],
    end: Sequence[str] = (),
) -> ModelCard:
    """Returns a card of its metadata and the texts of its sections; `uses` are the description and an example."""
    parts = [
        f"# {data.model_name}",
        *uses,
        "## Intended uses and limitations",
        *limitations,
        "## Training data",
        training,
        *evaluation,
        f"## License: {data.license_name or str(data.license).upper()}",
        "It is not stated." if data.license_name == "unstated" else "The weights are released under this license.",
        *end,
    ]
    return check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(p for p in parts if p) + "\n"))


def valid_metadata(model: nn.Module, config: Mapping[str, Any]) -> WeightsMetadata | None:
    """Returns a model's weights metadata if it describes the network, weights and labels of `config`, else None."""
    metadata: WeightsMetadata | None = getattr(model, "metadata", None)
    if metadata is None:
        return None
    expected = {
        "architecture": metadata.architecture,
        "model_args": metadata.args,
        "weights_sha256": metadata.sha256,
        "label_names": list(metadata.label_names) or None,
        "preprocessing": metadata.preprocessing and metadata.preprocessing.to_json(),
        "front_end": metadata.front_end and metadata.front_end.to_json(),
    }
    same = json.loads(json.dumps(expected)) == {key: config.get(key) for key in expected}
    return metadata if same else None


def describes_other_weights(card: str, sha256: str) -> bool:
    """Returns whether a card states a checksum of weights other than `sha256`."""
    stated = re.search(r"sha256 of the weights\W+([0-9a-f]{64})", card)
    return stated is not None and stated[1] != sha256


def _example(metadata: WeightsMetadata, shape: str) -> list[str]:
    """Returns lines of example code that apply the model to data in the unit of the training data."""
    if metadata.front_end is not None:
        read = f'wave, rate = convrnn_zoo.data.read_sound("recording.wav", rate={metadata.front_end.rate})'
        lines = [read, "predictions = model.classify_sound([wave], rate)  # labels and probabilities"]
        if metadata.threshold is not None and not metadata.model_args.get("bidirectional"):
            lines += ["spotter = convrnn_zoo.Spotter(model)  # finds words in sound that goes on and on"]
            lines += ["words = spotter(wave, rate)  # the words so far; call it again with the next piece"]
            lines += ["words += spotter.finish()  # after the last piece: a word at the end of the sound"]
        return lines
    if metadata.num_classes:
        call = f"y = model(model.normalize(x))  # x: {shape}, in the unit of the data"
        classify = "predictions = model.classify(x)  # labels and probabilities; x may be a list of sequences"
        return [call, classify] if metadata.label_names else [call]
    if (values := metadata.preprocessing) is None:
        return []
    variables = ", ".join(f"{v.name} ({v.unit})" if v.unit else v.name for v in values.variables)
    unit = variables or values.unit or "brightness from 0 to 1"
    horizon = metadata.model_args.get("horizon", values.horizon)
    interval = f" every {describe_step(values.step)}" if values.step else ""
    inputs = ", ".join(["x", *(f"{name}={name}" for name in ("static", "future") if getattr(values, name))])
    return [f"y = model.forecast({inputs})  # x: {shape} of any size, in {unit}{interval}; y: (N, {horizon}, ...)"]


def _usage(call: str, example: Sequence[str], hub_id: str | None) -> str:
    eval_mode = "" if call.startswith("from_pretrained") else ".eval()"
    lines = ["import convrnn_zoo", f"model = convrnn_zoo.{call}{eval_mode}", *(["", *example] if example else [])]
    if hub_id:
        lines += ["", f'model = timm.create_model("hf-hub:{hub_id}", pretrained=True)  # the same, after both imports']
    return "```python\n" + "\n".join(lines) + "\n```"


def _describe_network(architecture: str, args: Mapping[str, Any], parameters: int) -> str:
    sizes = ", ".join(f"`{k}={v!r}`" for k, v in args.items()) or "its default sizes"
    return f"`{architecture}` with {sizes}: {parameters:,} parameters"


def _results(metrics: Sequence[Metric], horizon: int | None = None) -> list[str]:
    """Returns a heading, the dataset, and a table for each set of baselines: a row per metric, a column per method."""
    if not metrics:
        return ["## Evaluation", "Not measured."]
    data = list(dict.fromkeys(f"{m.dataset}, {m.split}" for m in metrics))
    tables = []
    for others in dict.fromkeys(tuple(m.baselines) for m in metrics):
        compared = [m for m in metrics if tuple(m.baselines) == others]
        has_runs = any(m.mean is not None and m.runs > 1 for m in compared)
        measured_value = "these weights (95 % interval)" if any(m.interval for m in compared) else "these weights"
        header = ["", measured_value, *others, *(["mean ± standard deviation"] if has_runs else [])]
        rows = [_result(m, len(data) > 1, has_runs) for m in compared]
        tables.append(
            "\n".join("|" + "|".join(row) + "|" for row in ([f" {h} " for h in header], ["---"] * len(header), *rows))
        )
    measured = f"Measured on {data[0]}" if len(data) == 1 else "Measured"
    by_range = any(m.name.endswith(" min") for m in metrics)  # of lead times
    over = f", mean over {horizon} forecast frames" if horizon and not by_range else ""
    return ["## Evaluation", f"{measured}{over}.", *tables]


def _result(m: Metric, is_split_named: bool, has_runs: bool) -> list[str]:
    """Returns the cells of a metric: its name, its value, those of its baselines, and the spread over runs."""
    summed = "" if m.summed is None else f" per pixel (summed over {m.summed_over:,} pixels: {m.summed:.4g})"
    measured_on = f" ({m.dataset}, {m.split})" if is_split_named else ""
    note = f": {m.note}" if m.note and not m.baselines else ""
    spread = ["" if m.mean is None or m.runs < 2 else f"{m.mean:.4g} ± {m.std:.4g} ({m.runs} runs)"] if has_runs else []
    interval = "" if m.interval is None else " ({:g} to {:g})".format(*m.interval)
    value = f"{m.value:.4g} {m.unit}".rstrip() + interval
    cells = [f"{m.name}{summed}{measured_on}{note}", value, *(f"{b:.4g}" for b in m.baselines.values()), *spread]
    return [f" {cell} ".replace("|", "\\|") for cell in cells]

"""Model cards. Their tables are generated from the metadata of the weights, or from the model."""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import nn

from ..models import WEIGHTS, Metric, Weights, WeightsError

BEGIN, END = "<!-- facts: generated, edits between the markers are lost -->", "<!-- /facts -->"
_TAGS = ["timm", "pytorch", "convrnn-zoo", "convolutional-rnn"]
# Ids of tasks, metrics and datasets on the Hub. Others are given in the tags and in the text only.
_PIPELINES = {
    "audio-classification": "audio-classification",
    "next-frame-prediction": "video-to-video",
    "time-series-forecasting": "time-series-forecasting",
    "video-classification": "video-classification",
    "video-prediction": "video-to-video",
    "video-to-video": "video-to-video",
}
_METRICS = {"accuracy": "accuracy", "f1": "f1", "f1-score": "f1", "mae": "mae", "mse": "mse", "r-squared": "r_squared"}
_DATASETS = {"Moving MNIST": "ylecun/mnist", "Moving Fashion-MNIST": "zalando-datasets/fashion_mnist"}


def slug(text: str) -> str:
    """Returns text in lower case with hyphens, as the Hub writes its tags.

    Example:
        >>> slug("Japanese Vowels (CC BY 4.0)")
        'japanese-vowels-cc-by-4-0'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def check_card(card: ModelCard) -> ModelCard:
    """Checks a card offline and returns it. A push also asks the Hub whether the ids are known.

    Raises:
        WeightsError: lists every error.

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
    elif "other" in (data.license if isinstance(data.license, list) else [data.license]) and not data.license_name:
        errors.append("license 'other' needs a license_name")
    for field in ("tags", "datasets", "metrics"):
        value = data.get(field)
        wrong = [v for v in ([value] if isinstance(value, str) else value or []) if not isinstance(v, str) or not v]
        if wrong:
            errors.append(f"{field} must be words, got {wrong}")
    for result in data.eval_results or []:
        if isinstance(result.metric_value, bool) or not isinstance(result.metric_value, int | float):
            errors.append(f"metric {result.metric_type!r} is {result.metric_value!r}, expected a number")
        elif not math.isfinite(result.metric_value):
            errors.append(f"metric {result.metric_type!r} is {result.metric_value}; leave out what was not measured")
        for field in ("dataset_name", "dataset_type", "metric_type", "task_type"):
            if not getattr(result, field):
                errors.append(f"a result of the model-index lacks {field}")
    if errors:
        raise WeightsError(f"the card is invalid: {'; '.join(errors)}")
    return card


# ---- cards of weights with metadata --------------------------------------------------------------------------------
def card_text(weights: Weights, existing: str | None = None, address: str | None = None) -> str:
    """Returns the card of a set of weights.

    Args:
        weights: the metadata.
        existing: the present card, whose text outside the markers is kept.
        address: directory or repository of weights that are not the zoo's, for the example.

    Example:
        >>> from convrnn_zoo import WEIGHTS
        >>> print(card_text(WEIGHTS["convlstm1d_bi_1layer.japanese_vowels"]).split("```python")[1].split("```")[0])
        <BLANKLINE>
        import convrnn_zoo
        model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True).eval()
        <BLANKLINE>
        y = model(model.normalize(x))  # x: (N, T, 12, 1), in the unit of the data
        predictions = model.classify(x)  # labels and probabilities; x may be a list of sequences
        <BLANKLINE>
    """
    generated = f"{BEGIN}\n{_describe_weights(weights, address)}\n{END}"
    if existing is None:
        body = f"# {weights.name}\n\n{generated}\n"
    else:
        if not is_generated(existing):
            raise WeightsError(
                f"the card of {weights.name} has lost its markers; put {BEGIN} and {END} around its generated part"
            )
        before, after = _around_markers(ModelCard(existing, ignore_metadata_errors=True).text)
        body = before + generated + after
    dataset = _DATASETS.get(weights.dataset)
    data = ModelCardData(
        license=weights.license, library_name="convrnn_zoo", pipeline_tag=_PIPELINES.get(slug(weights.task)),
        datasets=[dataset] if dataset else None, metrics=_ids(weights.metrics),
        tags=[*_TAGS, slug(weights.task), weights.architecture],
    )  # fmt: skip
    return str(_card(data, body)).rstrip("\n") + "\n"


def valid_metadata(model: nn.Module, config: Mapping[str, Any]) -> Weights | None:
    """Returns the weights metadata of a model if it still applies: the same network, weights and labels as `config`."""
    weights: Weights | None = getattr(model, "record", None)
    if weights is None:
        return None
    expected = {
        "architecture": weights.architecture,
        "model_args": weights.args,
        "weights_sha256": weights.sha256,
        "label_names": list(weights.label_names) or None,
        "preprocessing": weights.preprocessing and weights.preprocessing.to_json(),
        "front_end": weights.front_end and weights.front_end.to_json(),
    }
    same = json.loads(json.dumps(expected)) == {key: config.get(key) for key in expected}
    return weights if same else None


def updated_card(
    model: nn.Module, weights: Weights | None, existing: str | None, address: str, hub_id: str | None = None
) -> str | None:
    """Returns the card of a model, or None if there is nothing to write.

    A card that this package did not generate is never changed. If the metadata no longer apply, the generated part of
    an existing card describes the model only.

    Args:
        model: the model.
        weights: the metadata that apply to its weights.
        existing: the present card.
        address: directory or repository of the model.
        hub_id: its repository.
    """
    if weights is not None and (existing is None or is_generated(existing)):
        weights = dataclasses.replace(weights, hub_id=hub_id or weights.hub_id)
        return card_text(weights, existing, None if weights.name in WEIGHTS else address)
    if existing is None or not is_generated(existing):
        return None
    old = ModelCard(existing, ignore_metadata_errors=True)
    license_fields = {key: value for key in ("license", "license_name") if (value := old.data.get(key))}
    new = model_card(model, address, **license_fields)
    before, after = _around_markers(old.text)
    generated = new.text[new.text.index("```python") :].strip()
    return f"---\n{new.data.to_yaml()}\n---\n\n{before}{BEGIN}\n{generated}\n{END}{after}"


def is_generated(card: str) -> bool:
    """Returns whether a card has the markers of its generated part."""
    return BEGIN in card and END in card.partition(BEGIN)[2]


def _around_markers(text: str) -> tuple[str, str]:
    """Returns the text before and after the generated part."""
    before, _, marked = text.partition(BEGIN)
    return before.lstrip("\n"), marked.partition(END)[2]


def _describe_weights(weights: Weights, address: str | None) -> str:
    shape = f"(N, {', '.join(map(str, weights.input_shape))})"
    has_recipe = "\n" in weights.recipe  # otherwise the name of a recipe of the package
    points = [
        f"{_describe_network(weights.architecture, weights.model_args, weights.num_params)}; input `{shape}`.",
        f"Trained on {_link_dataset(weights)} by the recipe {'below' if has_recipe else f'`{weights.recipe}`'}.",
        f"Licence {weights.license}; sha256 of the weights `{weights.sha256}`.",
    ]
    if weights.label_names:
        points.append(f"Classes: {', '.join(weights.label_names)}.")
    call = f'from_pretrained("{address}")' if address else f'create_model("{weights.name}", pretrained=True)'
    parts = [
        weights.description,
        _usage(call, _example(weights, shape), weights.hub_id),
        *_results(weights.metrics, weights.model_args.get("horizon")),
        "## Limitations",
        weights.remarks,
        "\n".join(f"- {point}" for point in points),
        weights.citation,
        f"## Recipe\n\n```toml\n{weights.recipe.strip()}\n```" if has_recipe else "",
    ]
    return "\n\n".join(p for p in parts if p)


def _link_dataset(weights: Weights) -> str:
    """Returns the dataset with its licence, and a link if its URL is known."""
    name = f"[{weights.trained_on}]({weights.dataset_url})" if weights.dataset_url else weights.trained_on
    return name if weights.dataset_license else f"{name} (licence not stated)"


def _example(weights: Weights, shape: str) -> list[str]:
    """Returns lines of code that apply the model to data in their unit."""
    if weights.front_end is not None:
        read = f'wave, rate = convrnn_zoo.data.read_sound("recording.wav", rate={weights.front_end.rate})'
        return [read, "predictions = model.classify_sound([wave], rate)  # labels and probabilities"]
    if weights.num_classes:
        call = f"y = model(model.normalize(x))  # x: {shape}, in the unit of the data"
        return [call, "predictions = model.classify(x)  # labels and probabilities; x may be a list of sequences"]
    if (values := weights.preprocessing) is None:
        return []
    unit, horizon = values.unit or "brightness from 0 to 1", weights.model_args.get("horizon", values.horizon)
    interval = f" every {values.step:g} minutes" if values.step else ""
    return [f"y = model.forecast(x)  # x: {shape} of any size, in {unit}{interval}; y: (N, {horizon}, ...)"]


# ---- cards of other models -----------------------------------------------------------------------------------------
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
    """Returns a card for a model without metadata.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm built by a name of the zoo.
        repo_id: ``owner/name``.
        license: id of a licence on the Hub, such as "mit"; "other" with `license_name`.
        license_name: name of the licence if `license` is "other"; "unstated" by default.
        description: purpose of the model, in a sentence or two.
        task: such as "video classification"; becomes the pipeline tag if the Hub has one of that name.
        datasets: ids of datasets on the Hub.
        metrics: measured metrics. Those that the Hub knows become its results on the first of the `datasets`.
        tags: additional tags.

    Raises:
        WeightsError: the card is invalid.
    """
    cfg: Any = model.pretrained_cfg
    name, metrics, datasets = repo_id.split("/")[-1], list(metrics), list(datasets)
    results = [
        EvalResult(
            task_type=_PIPELINES.get(slug(task)) or slug(task) or "other", dataset_type=datasets[0],
            dataset_name=m.dataset, dataset_split=m.split, metric_type=id, metric_name=m.name, metric_value=m.value,
        )
        for m in metrics if datasets and (id := _METRICS.get(slug(m.name)))
    ]  # fmt: skip
    data = ModelCardData(
        license=license, license_name=(license_name or "unstated") if license == "other" else None,
        library_name="convrnn_zoo", pipeline_tag=_PIPELINES.get(slug(task)), datasets=datasets or None,
        tags=[*_TAGS, *([slug(task)] if task else []), cfg["architecture"], *tags], metrics=_ids(metrics),
        model_name=name, eval_results=results or None,
    )  # fmt: skip
    args: Any = getattr(model, "model_args", {})
    network = _describe_network(cfg["architecture"], args, sum(p.numel() for p in model.parameters()))
    parts = [
        f"# {name}", description, _usage(f'from_pretrained("{repo_id}")', [], repo_id), *_results(metrics),
        "## Limitations",
        f"{network}; {model.in_chans} channels of input, {model.num_classes} classes.",
    ]  # fmt: skip
    return _card(data, "\n\n".join(p for p in parts if p) + "\n")


# ---- parts ---------------------------------------------------------------------------------------------------------
def _card(data: ModelCardData, body: str) -> ModelCard:
    return check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def _ids(metrics: Iterable[Metric]) -> list[str] | None:
    """Returns the ids of those metrics that the Hub knows."""
    return sorted({_METRICS[slug(m.name)] for m in metrics if slug(m.name) in _METRICS}) or None


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
    """Returns a heading, the dataset, and a table with one row per metric and one column per method."""
    if not metrics:
        return []
    if broken := [m for m in metrics if not math.isfinite(m.value)]:
        raise WeightsError(f"metric {broken[0].name!r} is {broken[0].value}; leave out what was not measured")
    data = list(dict.fromkeys(f"{m.dataset}, {m.split}" for m in metrics))
    others = list(dict.fromkeys(b for m in metrics for b in m.baselines))
    runs = any(m.mean is not None and m.runs > 1 for m in metrics)
    header = ["", "these weights", *others, *(["mean ± standard deviation"] if runs else [])]
    rows = []
    for m in metrics:
        name = m.name
        if m.summed is not None:
            name += f" per pixel (summed over {m.summed_over:,} pixels: {m.summed:.4g})"
        if len(data) > 1:
            name += f" ({m.dataset}, {m.split})"
        if m.note and not m.baselines:
            name += f": {m.note}"
        compared = [f"{m.baselines[b]:.4g}" if b in m.baselines else "–" for b in others]
        spread = ["" if m.mean is None or m.runs < 2 else f"{m.mean:g} ± {m.std:g} ({m.runs} runs)"] if runs else []
        row = [name, f"{m.value:.4g} {m.unit}".rstrip(), *compared, *spread]
        rows.append([cell.replace("|", "\\|") for cell in row])
    table = "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))
    measured = f"Measured on {data[0]}" if len(data) == 1 else "Measured"
    return ["## Results", f"{measured}{f', mean over {horizon} forecast frames' if horizon else ''}.", table]

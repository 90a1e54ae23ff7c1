"""Model cards, for people and for the Hub. Facts come from the record or the model, not by hand."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import nn

from ..models import Metric, Weights, WeightsError

BEGIN, END = "<!-- facts: generated, edits between the markers are lost -->", "<!-- /facts -->"
_TAGS = ["timm", "pytorch", "convrnn-zoo", "convolutional-rnn"]
# The Hub's ids of tasks, metrics and data sets. What has none stands among the tags and in the text.
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
    """Lower case with hyphens, as the Hub writes its tags.

    Example:
        >>> slug("Japanese Vowels (CC BY 4.0)")
        'japanese-vowels-cc-by-4-0'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def check_card(card: ModelCard) -> ModelCard:
    """Refuses a card that no Hub would take; whether its ids are known, a push asks the Hub before anything is sent.

    Raises:
        WeightsError: each fault.

    Example:
        >>> check_card(ModelCard("---\\nlicense: other\\n---\\n"))
        Traceback (most recent call last):
        ...
        convrnn_zoo.pretrained.errors.WeightsError: the card has faults: license 'other' needs a license_name
    """
    data: Any = card.data
    faults = []
    if not data.license:
        faults.append("no license; name one of the Hub's, such as mit, or other with license_name")
    elif "other" in (data.license if isinstance(data.license, list) else [data.license]) and not data.license_name:
        faults.append("license 'other' needs a license_name")
    for field in ("tags", "datasets", "metrics"):
        value = data.get(field)
        wrong = [v for v in ([value] if isinstance(value, str) else value or []) if not isinstance(v, str) or not v]
        if wrong:
            faults.append(f"{field} must be words, got {wrong}")
    for result in data.eval_results or []:
        if isinstance(result.metric_value, bool) or not isinstance(result.metric_value, int | float):
            faults.append(f"metric {result.metric_type!r} is {result.metric_value!r}, expected a number")
        elif not math.isfinite(result.metric_value):
            faults.append(f"metric {result.metric_type!r} is {result.metric_value}; leave out what was not measured")
        for field in ("dataset_name", "dataset_type", "metric_type", "task_type"):
            if not getattr(result, field):
                faults.append(f"a result of the model-index lacks {field}")
    if faults:
        raise WeightsError(f"the card has faults: {'; '.join(faults)}")
    return card


# ---- of a record -----------------------------------------------------------------------------------------------
def card_text(record: Weights, existing: str | None = None, address: str | None = None) -> str:
    """The card of a set of weights; what an `existing` one says outside the markers is kept.

    Weights that are not the zoo's are loaded by their `address`, a directory or a repository.

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
    facts = f"{BEGIN}\n{_facts_of(record, address)}\n{END}"
    if existing is None:
        body = f"# {record.name}\n\n{facts}\n"
    else:
        old = ModelCard(existing, ignore_metadata_errors=True).text
        before, begin, rest = old.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise WeightsError(f"the card of {record.name} lost its markers; put {BEGIN} and {END} around its facts")
        body = before.lstrip("\n") + facts + after
    dataset = _DATASETS.get(record.dataset)
    data = ModelCardData(
        license=record.license, library_name="convrnn_zoo", pipeline_tag=_PIPELINES.get(slug(record.task)),
        datasets=[dataset] if dataset else None, metrics=_ids(record.metrics),
        tags=[*_TAGS, slug(record.task), record.architecture],
    )  # fmt: skip
    return str(_card(data, body)).rstrip("\n") + "\n"


def _facts_of(record: Weights, address: str | None) -> str:
    shape = f"(N, {', '.join(map(str, record.input_shape))})"
    own = "\n" in record.recipe  # the recipe itself, and not the name of one of the package
    facts = [
        f"{_built(record.architecture, record.model_args, record.num_params)}; input `{shape}`.",
        f"Trained on {_data_of(record)} by the recipe {'below' if own else f'`{record.recipe}`'}.",
        f"Licence {record.license}; sha256 of the weights `{record.sha256}`.",
    ]
    if record.label_names:
        facts.append(f"Classes: {', '.join(record.label_names)}.")
    parts = [
        record.description,
        _usage(
            f'from_pretrained("{address}")' if address else f'create_model("{record.name}", pretrained=True)',
            _applied(record, shape),
            record.hub_id,
        ),
        *_results(record.metrics, record.model_args.get("horizon")),
        "## Limitations",
        record.remarks,
        "\n".join(f"- {fact}" for fact in facts),
        record.citation,
        f"## Recipe\n\n```toml\n{record.recipe.strip()}\n```" if own else "",
    ]
    return "\n\n".join(p for p in parts if p)


def _data_of(record: Weights) -> str:
    """The data with their licence, and their address where there is one."""
    named = f"[{record.trained_on}]({record.dataset_url})" if record.dataset_url else record.trained_on
    return named if record.dataset_license else f"{named} (licence not stated)"


def _applied(record: Weights, shape: str) -> list[str]:
    """How a model is given data in their unit."""
    if record.front_end is not None:
        read = f'wave, rate = convrnn_zoo.data.read_sound("recording.wav", rate={record.front_end.rate})'
        return [read, "predictions = model.classify_sound([wave], rate)  # labels and probabilities"]
    if record.num_classes:
        applied = f"y = model(model.normalize(x))  # x: {shape}, in the unit of the data"
        return [applied, "predictions = model.classify(x)  # labels and probabilities; x may be a list of sequences"]
    if (values := record.preprocessing) is None:
        return []
    unit, horizon = values.unit or "brightness from 0 to 1", record.model_args.get("horizon", values.horizon)
    every = f" every {values.step:g} minutes" if values.step else ""
    return [f"y = model.forecast(x)  # x: {shape} of any size, in {unit}{every}; y: (N, {horizon}, ...)"]


# ---- of a model ------------------------------------------------------------------------------------------------
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
    """The card of a model that has no record, from the model and what the user says of it.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm made by a name of the zoo.
        repo_id: ``owner/name``.
        license: an id of the Hub's, such as "mit"; "other" with `license_name`.
        license_name: the licence's own name, "unstated" by default, where `license` is "other".
        description: what the model is for, in a sentence or two.
        task: such as "video classification"; the Hub's pipeline tag where it has one of that name.
        datasets: ids of the Hub's.
        tags: more tags.
        metrics: what was measured, as :class:`~convrnn_zoo.Metric`. Those that the Hub knows become its
            results on the first of the `datasets`.

    Raises:
        WeightsError: what :func:`check_card` finds.
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
    built = _built(cfg["architecture"], args, sum(p.numel() for p in model.parameters()))
    parts = [
        f"# {name}", description, _usage(f'from_pretrained("{repo_id}")', [], repo_id), *_results(metrics),
        "## Limitations",
        f"{built}; {model.in_chans} channels of input, {model.num_classes} classes.",
    ]  # fmt: skip
    return _card(data, "\n\n".join(p for p in parts if p) + "\n")


# ---- words -----------------------------------------------------------------------------------------------------
def _card(data: ModelCardData, body: str) -> ModelCard:
    return check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def _ids(metrics: Iterable[Metric]) -> list[str] | None:
    """The Hub's ids of those metrics that it knows."""
    return sorted({_METRICS[slug(m.name)] for m in metrics if slug(m.name) in _METRICS}) or None


def _usage(call: str, then: Sequence[str], hub_id: str | None) -> str:
    lines = ["import convrnn_zoo", f"model = convrnn_zoo.{call}.eval()", *(["", *then] if then else [])]
    if hub_id:
        lines += ["", f'model = timm.create_model("hf-hub:{hub_id}", pretrained=True)  # the same, after both imports']
    return "```python\n" + "\n".join(lines) + "\n```"


def _built(architecture: str, args: Mapping[str, Any], parameters: int) -> str:
    words = ", ".join(f"`{k}={v!r}`" for k, v in args.items()) or "its default sizes"
    return f"`{architecture}` with {words}: {parameters:,} parameters"


def _results(metrics: Sequence[Metric], horizon: int | None = None) -> list[str]:
    """A heading, on which data it was measured, and a table: a row a metric, a column a method."""
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

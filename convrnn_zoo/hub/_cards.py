"""Model cards: what a person and the Hub are told of a model. Facts come from the record or the model, not by hand."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import nn

from ..models import Forecaster, Metric, Weights, WeightsError, create_model
from ._vocabulary import LICENSES, PIPELINE_TAGS

BEGIN, END = "<!-- facts: generated, edits between the markers are lost -->", "<!-- /facts -->"
_TAGS = ["timm", "pytorch", "convrnn-zoo", "convolutional-rnn"]
_PIPELINE_OF = {"next-frame prediction": "video-to-video"}  # where the Hub has another word for a task


def slug(text: str) -> str:
    """Lower case with hyphens, as the Hub writes its tags.

    Example:
        >>> slug("Japanese Vowels (CC BY 4.0)")
        'japanese-vowels-cc-by-4-0'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def pipeline_of(task: str) -> str | None:
    """The Hub's pipeline tag for a task, where it has one."""
    tag = _PIPELINE_OF.get(task.lower(), slug(task))
    return tag if tag in PIPELINE_TAGS else None


def check_card(card: ModelCard) -> ModelCard:
    """Refuses what the Hub would refuse, and what neither it nor its client checks.

    Raises:
        WeightsError: each fault, with the words that are allowed.

    Example:
        >>> check_card(ModelCard("---\\nlicense: mit\\npipeline_tag: video-prediction\\n---\\n"))
        Traceback (most recent call last):
        ...
        convrnn_zoo.models._errors.WeightsError: the card has faults: pipeline_tag 'video-prediction' is not one of the
        Hub's (such as video-classification, video-to-video, audio-classification, time-series-forecasting); use tags
    """
    data: Any = card.data
    faults = []
    if data.pipeline_tag is not None and data.pipeline_tag not in PIPELINE_TAGS:
        faults.append(
            f"pipeline_tag {data.pipeline_tag!r} is not one of the Hub's (such as video-classification, "
            "video-to-video, audio-classification, time-series-forecasting); use tags"
        )
    licenses = data.license if isinstance(data.license, list) else [data.license]
    if not data.license:
        faults.append("no license; name one of the Hub's, such as mit, or other with license_name")
    elif any(name not in LICENSES for name in licenses):
        faults.append(f"license {data.license!r} is not one of the Hub's; write 'other' and license_name")
    elif "other" in licenses and not data.get("license_name"):
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
def card_text(record: Weights, existing: str | None = None) -> str:
    """The card of a set of weights, whole; what an `existing` one says outside the markers is kept.

    Example:
        >>> from convrnn_zoo import WEIGHTS
        >>> print(card_text(WEIGHTS["convlstm1d_bi_1layer.japanese_vowels"]).split("```python")[1].split("```")[0])
        <BLANKLINE>
        import convrnn_zoo  # first: it makes the architecture known to timm
        <BLANKLINE>
        model = convrnn_zoo.create_model('convlstm1d_bi_1layer.japanese_vowels', pretrained=True).eval()
        y = model(model.normalize(x))  # x: (N, T, 12, 1), in the units of the data
        <BLANKLINE>
    """
    facts = f"{BEGIN}\n{_facts_of(record)}\n{END}"
    if existing is None:
        body = f"# {record.name}\n\n{facts}\n"
    else:
        old = ModelCard(existing, ignore_metadata_errors=True).text
        before, begin, rest = old.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise WeightsError(f"the card of {record.name} lost its markers; put {BEGIN} and {END} around its facts")
        body = before.lstrip("\n") + facts + after
    return str(check_card(ModelCard(f"---\n{_data_of(record).to_yaml()}\n---\n\n{body}"))).rstrip("\n") + "\n"


def _data_of(record: Weights) -> ModelCardData:
    dataset, pipeline = slug(record.dataset.partition(" (")[0]), pipeline_of(record.task)  # without its licence
    results = [
        EvalResult(
            task_type=pipeline or slug(record.task), task_name=record.task, dataset_type=dataset,
            dataset_name=m.dataset, dataset_split=m.split, metric_type=slug(m.name), metric_name=m.name,
            metric_value=m.value,
        )
        for m in record.metrics
    ]  # fmt: skip
    return ModelCardData(
        license=record.license, library_name="timm", pipeline_tag=pipeline, datasets=[dataset],
        tags=[*_TAGS, slug(record.task), record.architecture], metrics=sorted({slug(m.name) for m in record.metrics}),
        model_name=record.name, eval_results=results,
    )  # fmt: skip


def _facts_of(record: Weights) -> str:
    shape = ", ".join(map(str, record.input_shape))
    rows = {
        "architecture": f"`{record.architecture}` with " + _words(record.model_args),
        "input": f"`(N, {shape})`",
        "normalization": f"mean {_numbers(record.mean)}, standard deviation {_numbers(record.std)}",
        "classes": _classes(record),
        "parameters": f"{record.num_params:,}",
        "trained on": f"[{record.dataset}]({record.dataset_url})",
        "recipe": f"`{record.recipe}`",
        "licence": record.license,
        "sha256": f"`{record.sha256}`",
    }
    parts = [
        record.description,
        "## Use",
        _usage(f"convrnn_zoo.create_model({record.name!r}, pretrained=True)", record.hub_id, *_applied(record, shape)),
        "## Facts",
        _table(("", ""), rows.items()),
        "## Results",
        _table(("metric", "value", "data", "note"), (_result(m) for m in record.metrics)),
    ]
    if record.remarks:
        parts += ["## What to know", record.remarks]
    if record.citation:
        parts += ["## Citation", record.citation]
    return "\n\n".join(parts)


def _result(m: Metric) -> tuple[str, str, str, str]:
    spread = f" ({m.mean:g} ± {m.std:g}, {m.runs} runs)" if m.mean is not None and m.std is not None else ""
    return m.name, f"{m.value:g} {m.unit}".rstrip() + spread, f"{m.dataset}, {m.split}", m.note


def _classes(record: Weights) -> str:
    names = ", ".join(record.label_names)
    return f"{record.num_classes}: {names}" if names else str(record.num_classes)


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
    """The card of a model that has no record, from the model and the user's words.

    Args:
        model: built by its name.
        repo_id: ``owner/name``.
        license: one of the Hub's words; "other" with `license_name`.
        license_name: the licence's own name, "unstated" by default, where `license` is "other".
        description, task: sentences and words of the user's.
        datasets, tags: words of the Hub's.
        metrics: what was measured, as :class:`~convrnn_zoo.Metric`.

    Raises:
        WeightsError: what :func:`check_card` finds.
    """
    cfg: Any = model.pretrained_cfg
    metrics, pipeline = list(metrics), pipeline_of(task)
    results = [
        EvalResult(
            task_type=pipeline or slug(task) or "other", dataset_type=slug(m.dataset), dataset_name=m.dataset,
            dataset_split=m.split, metric_type=slug(m.name), metric_name=m.name, metric_value=m.value,
        )
        for m in metrics
    ]  # fmt: skip
    data = ModelCardData(
        license=license, license_name=(license_name or "unstated") if license == "other" else None,
        library_name="timm", pipeline_tag=pipeline, datasets=list(datasets) or None,
        tags=[*_TAGS, *([slug(task)] if task else []), cfg["architecture"], *tags],
        metrics=sorted({slug(m.name) for m in metrics}) or None,
        model_name=repo_id.split("/")[-1], eval_results=results or None,
    )  # fmt: skip
    args: Any = getattr(model, "model_args", {})
    rows = {
        "architecture": f"`{cfg['architecture']}` with {_words(args)}",
        "input channels": str(model.in_chans),
        "classes": str(model.num_classes),
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
    }
    parts = [
        f"# {repo_id.split('/')[-1]}", description, "## Use",
        _usage(f"convrnn_zoo.from_pretrained({repo_id!r})", repo_id), "## Facts", _table(("", ""), rows.items()),
    ]  # fmt: skip
    if metrics:
        parts += ["## Results", _table(("metric", "value", "data", "note"), (_result(m) for m in metrics))]
    body = "\n\n".join(p for p in parts if p)
    return check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n"))


# ---- words -----------------------------------------------------------------------------------------------------
def _applied(record: Weights, shape: str) -> list[str]:
    """How a model is given data: a forecaster through what knows the unit, the others after their normalization."""
    model = create_model(record.architecture, device="meta", in_chans=record.in_chans, **record.model_args)
    if not isinstance(model, Forecaster):
        return [f"y = model(model.normalize(x))  # x: (N, {shape}), in the units of the data"]
    return [
        "",
        "from convrnn_zoo.train import load_forecaster  # the same, for frames in the unit of the data and of any size",
        "",
        f"forecaster = load_forecaster({record.name!r})",
        f"y = forecaster(x, horizon={model.horizon})  # x: (N, {shape}), y: (N, {model.horizon}, ...)",
    ]


def _usage(call: str, hub_id: str | None, *then: str) -> str:
    first = "import convrnn_zoo  # first: it makes the architecture known to timm"
    lines = [first, "", f"model = {call}.eval()", *then]
    if hub_id:
        lines += ["", "import timm  # the same", "", f'model = timm.create_model("hf-hub:{hub_id}", pretrained=True)']
    return "```python\n" + "\n".join(lines) + "\n```"


def _table(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    cell = lambda text: str(text).replace("|", "\\|")  # noqa: E731
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def _words(args: Mapping[str, Any]) -> str:
    return ", ".join(f"`{k}={v!r}`" for k, v in args.items()) or "its default sizes"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{v:.4g}" for v in values)

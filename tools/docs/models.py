"""Tables of architectures, weights and exports, from the registry and the metadata, for :mod:`tools.docs`."""

import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache, partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines import baseline_table, strongest
from benchmarks.tables import markdown, rows_of, table
from convrnn_zoo import WEIGHTS, ConvRNNModel, Forecaster, Metric, WeightsMetadata, create_model, list_models
from convrnn_zoo.cli._text import format_metric
from convrnn_zoo.cli.demo import CLASSIFIER, SAMPLE
from convrnn_zoo.data.readers.sequences import read_recordings
from convrnn_zoo.interop import SOURCES
from convrnn_zoo.layers import KINDS
from convrnn_zoo.pretrained.builder import accepted_arguments
from convrnn_zoo.pretrained.published import PUBLISHED, Published, find_published
from convrnn_zoo.pretrained.registry import entry_points
from references.earthnet import table as score_table

from .. import ROOT, link, recorded, website
from .. import exports as exports_tool
from ..release import public_address
from . import notebooks
from .nowcasts import nowcast_meaning

TITLES = {
    "convgru_advection.nowcast": ("rain in the next hour", "forecasts and probabilities from four radar images"),
    "convgru_forecaster.rain": ("rain, a small example", ""),
    "audio_convrnn.arabic_commands": ("40 spoken commands (Arabic)", "commands in running sound"),
    "audio_convrnn.fsdd": ("spoken digits (English)", "a start for own words"),
    "convgru1d_bi_2layer.watch_example": ("exercises, by a smartwatch (example)", "a start for own sensors"),
    "convlstm1d_bi_1layer.japanese_vowels": ("nine speakers, by two vowels (example)", "trying the package"),
    "convlstm2d_bi_2layer.radhar_example": ("five activities, by a radar (example)", "a start for own radar points"),
    "video_convrnn.digit_motion": ("motion in clips (benchmark)", "a start for small clips"),
    "convlstm2d_bi_2layer.digit_motion": ("motion in clips (benchmark), both directions", ""),
    "convgru2d_1layer.digit_motion": ("motion in clips (benchmark), small", ""),
    "convgru_pyramid.moving_mnist": ("next frames (benchmark)", "comparing architectures"),
    "convgru_forecaster.moving_mnist": ("next frames (benchmark), small", ""),
    "convgru_pyramid.moving_fashion_mnist": ("next frames (benchmark), clothes", "comparing architectures"),
    "convgru_forecaster.moving_fashion_mnist": ("next frames (benchmark), clothes, small", ""),
}
"""Task of the weights, and for README their use, in the order of the tables. README lists those with a use."""


# ---- architectures -----------------------------------------------------------------------------------------------
architectures = partial(
    rows_of,
    KINDS,
    {
        "names": lambda kind: f"`{kind}{{1,2,3}}d[_bi]_{{1,2,3}}layer`",
        "cell": lambda kind: KINDS[kind][2].title,
        "how many": lambda kind: len(list_models(f"{kind}[123]d_*")),
    },
)


def layer_costs(page: str) -> str:
    """Lists parameters and cost per frame of the core families at their default sizes."""
    columns: dict[str, Any] = {"name": lambda kind: f"`{kind}2d_…layer`", "cell": lambda kind: KINDS[kind][2].title}
    for n, title in enumerate(("1 layer", "2 layers", "3 layers"), 1):
        columns[title] = lambda kind, n=n: f"{_parameters(_core(kind, n)):,}"
    columns["cost of a frame, 1 layer"] = lambda kind: f"{_a_frame_more(_core(kind, 1)):.2f}"
    return table(KINDS, columns)


def _core(kind: str, layers: int) -> Any:
    return create_model(f"{kind}2d_{layers}layer", in_chans=1, device="meta")


def forecasters(page: str) -> str:
    """Lists the forecasters with size, cost and available weights."""
    rows = []
    for name, model in _forecasters():
        ours = [w for w in WEIGHTS.values() if w.architecture == name]
        sizes = f"{_parameters(model):,}"
        if ours and {w.num_params for w in ours} != {_parameters(model)}:
            sizes += f" (with weights: {', '.join(sorted({f'{w.num_params:,}' for w in ours}))})"
        links = ", ".join(f"[{w.name.partition('.')[2]}]({_card(w, page)})" for w in ours) or "none"
        links += f"; [others' weights]({link('docs/models/published.md', page)})" if find_published(name) else ""
        read, frames = "–" if model.input_frames else f"{_a_frame_more(model):.2f}", model.input_frames or 3
        ahead = f"{_cost(model, frames, horizon=3) - _cost(model, frames, horizon=2):.2f}"
        rows.append((f"`{name}`", sizes, f"{model.pretrained_cfg['input_size'][-1]}²", read, ahead, links))
    costs = ("cost to read one", "cost to forecast one")
    return markdown(("name", "parameters", "frames", *costs, "weights here"), rows)


def _parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@cache
def _models() -> dict[str, Any]:
    return {name: create_model(name, device="meta").eval() for name in sorted(entry_points())}


def _forecasters() -> list[tuple[str, Any]]:
    return [(name, model) for name, model in _models().items() if isinstance(model, Forecaster)]


def _a_frame_more(model: Any) -> float:
    call = {"horizon": 2} if isinstance(model, Forecaster) else {}
    return _cost(model, 4, **call) - _cost(model, 3, **call)


@cache
@torch.no_grad()
def _cost(model: Any, frames: int, **call: int) -> float:
    """Returns the multiply-adds of a forward pass on the meta device, in units of 10⁹."""
    size, known = model.pretrained_cfg["input_size"][-1] if "horizon" in call else 64, {}
    zeros = partial(torch.zeros, device="meta")
    if static := getattr(model, "static_chans", 0):
        known["static"] = zeros(1, static, size, size)
    if future := getattr(model, "future_chans", 0):
        known["future"] = zeros(1, frames + call["horizon"], future, 1, 1)
    with FlopCounterMode(display=False) as counter:
        model(zeros(1, frames, model.in_chans, size, size), **call, **known)
    return counter.get_total_flops() / 2e9


def entries(page: str) -> str:
    """Writes one section per forecaster from its docstring."""
    return _entries(name for name, _ in _forecasters())


def networks(page: str) -> str:
    """Writes one section per video or dense model from its docstring."""
    models = _models()
    return _entries(
        n for n in entry_points() if not (isinstance(models[n], Forecaster) or type(models[n]) is ConvRNNModel)
    )


def _entries(names: Iterable[str]) -> str:
    parts = []
    for name in names:
        about = inspect.cleandoc(str(entry_points()[name].__doc__)).partition("\nArgs:\n")[0]
        parts.append(f"### {name}\n\n{website.markdown(about).strip()}\n\nTakes {arguments(name)}.")
    return "\n\n".join(parts)


def arguments(name: str) -> str:
    """Lists the arguments of a model with their defaults, which the constructor and what it is a partial of state."""
    function = entry_points()[name]
    with patch.object(sys.modules[function.__module__], "build_model", lambda constructor, *_, **__: constructor):
        constructor: Any = function()
    preset = {**constructor.keywords} if isinstance(constructor, partial) else {}
    cls: Any = constructor.func if isinstance(constructor, partial) else constructor
    parameters = [p for c in cls.__mro__ if "__init__" in vars(c) for p in inspect.signature(c).parameters.values()]
    defaults = {p.name: p.default for p in reversed(parameters) if p.default is not p.empty} | preset
    accepted = [n for n in accepted_arguments(constructor) or () if n not in ("device", "dtype")]
    named = [n for n in accepted if n in defaults and (n != "num_classes" or defaults[n])]
    listed = ", ".join(f"{n} ({defaults[n]!r})".replace("'", '"') for n in named)
    listed += ", and the options of the layers" if {*accepted} - {*defaults} else ""
    return f"{listed}; see {website.markdown(f':class:`~{cls.__module__}.{cls.__name__}`').strip()}"


_PUBLISHED = re.compile(r"((?:Published|A public reproduction)\b.*?\.)(?= [A-Z]|$)")


def paper_scores(page: str) -> str:
    """Lists the scores that papers and a reproduction publish for other networks, from their docstrings."""
    rows = []
    for name, function in sorted(entry_points().items()):
        for sentence in _PUBLISHED.findall(" ".join(str(function.__doc__).split())):
            if "Moving MNIST" not in sentence:
                rows.append((f"`{name}`", re.sub(r"^Published, ", "", sentence).rstrip(".")))
    return markdown(("name", "published"), rows)


# ---- weights of the package --------------------------------------------------------------------------------------
UNSEEN = {"accuracy, unseen groups": "for people outside training", "accuracy, unseen days": "on days outside training"}
"""Metrics of other networks of a recipe on data that differ from those of training, and their meaning."""


def weights(page: str) -> str:
    """Lists the weights by task with their main scores; README has their use, and one score with its meaning."""
    known = [WEIGHTS[name] for name, (_, use) in TITLES.items() if use or page != "README.md"]
    columns: dict[str, Any] = {
        "task": lambda w: TITLES[w.name][0],
        "weights": lambda w: f"[`{w.name}`]({_card(w, page)})",
    }
    if page == "README.md":
        columns |= {"good for": lambda w: TITLES[w.name][1], "score on test data": _meaning}
    else:
        columns |= {"score on test data": _scores, "parameters": lambda w: f"{w.num_params:,}"}
        columns["data (licence)"] = lambda w: w.trained_on
    return table(known, columns)


def _card(metadata: WeightsMetadata, page: str) -> str:
    cards = "model_cards" if page == "README.md" else "docs/models/weights"  # the site reads them through a link
    return link(f"{cards}/{metadata.name}.md", page)


def _meaning(w: WeightsMetadata) -> str:
    """Describes one score in words: for people or days outside training, if it was measured, else for the test data."""
    if w.name == "convgru_advection.nowcast":
        return nowcast_meaning()
    metric = next((m for m in w.metrics if m.name in UNSEEN), w.metrics[0])
    if metric.name.startswith("accuracy"):
        meaning = f" {UNSEEN[metric.name]}" if metric.name in UNSEEN else ""
        known = metric.baselines.keys() - {"commonest class"}
        other = " ({} {:g} %)".format(*strongest(metric)).replace(", frames in order", "") if known else ""
        return f"{metric.value:g} % right{meaning}{other}"
    name, value = strongest(metric)
    than = {"last frame": "repeating the last frame", "zero": "a black frame"}[name]
    return f"{100 - 100 * metric.value / value:.0f} % less {metric.name} than {than}"


def _scores(w: WeightsMetadata) -> str:
    others = [m for m in w.metrics[1:] if m.name.startswith("CSI") or m.name in UNSEEN][:1]
    ensembles = [format_metric(m) for m in w.metrics if m.name == "CRPS relative to STEPS"]
    return "; ".join([*map(_with_baselines, [w.metrics[0], *others]), *ensembles])


def _with_baselines(metric: Metric) -> str:
    known = {"last frame", "zero", "extrapolation", "S-PROG"} & {*metric.baselines}
    known |= {strongest(metric)[0]} if metric.baselines else set()
    others = ", ".join(f"{k} {v:g}" for k, v in metric.baselines.items() if k in known)
    return format_metric(metric) + (f" ({others})" if others else "")


def baselines(page: str) -> str:
    """Lists the weights next to the strongest simple baseline on the same test data."""
    return baseline_table()


def unweighted(page: str) -> str:
    """States how many architectures have weights."""
    trained, others = ({w.architecture for w in sets.values()} for sets in (WEIGHTS, PUBLISHED))
    return (
        f"Of {len(list_models())} architectures, {len(trained)} have weights in the package ({len(WEIGHTS)} sets), and "
        f"{len(others)} load weights of other projects ({len(PUBLISHED)} sets). "
        "Every other name builds an untrained network: train it before you use its output."
    )


def padding(page: str) -> str:
    """Lists the loss in accuracy if the weights of the demo read padding as data."""
    rows = [(m.name, f"{m.mean:g} ± {m.std:g} %", m.note) for m in WEIGHTS[CLASSIFIER].metrics]
    return markdown(("", "mean ± standard deviation", ""), rows)


def demo(page: str) -> str:
    """Lists the last recording of each class of the sample in the package, and the accuracy over all its recordings."""
    model: Any = create_model(CLASSIFIER, pretrained=True)
    recordings, names = read_recordings(SAMPLE, model), WEIGHTS[CLASSIFIER].label_names
    truths = [names[int(recording.label)] for recording in recordings]
    predictions = model.classify([recording.values for recording in recordings])
    rows = {
        truth: (len(recording.values), truth, p.label, f"{p.probability:.3f}")
        for recording, truth, p in zip(recordings, truths, predictions, strict=True)
    }
    right = sum(p.label == truth for truth, p in zip(truths, predictions, strict=True))
    table_of_last = markdown(("steps", "truth", "prediction", "probability"), list(rows.values()))
    return f"{table_of_last}\n\n{right} of {len(truths)} right; the last recording of each speaker is shown."


# ---- weights and checkpoints of other projects -------------------------------------------------------------------
EARTHNET = "tools/earthnet.json"
"""Scores of EarthNet2021's test cubes, from ``python -m references.earthnet``."""


def elsewhere(page: str) -> str:
    """Lists the architectures whose weights others publish: task, owner, licence, size of a file, and check."""
    columns: dict[str, Any] = {"name": lambda sets: "[`{0}`](#{0})".format(sets[0].architecture)}
    for title, field in {"task": "task", "owner": "owner", "licence": "license_text"}.items():
        columns[title] = lambda sets, field=field: "; ".join(dict.fromkeys(getattr(p, field) for p in sets))
    columns["size"] = lambda sets: f"{_size(sets)} MB".replace(" ", "\u00a0")
    columns["verified"] = lambda sets: (
        "file" if all(p.verified.startswith("the published file") for p in sets) else "network"
    )
    return table(_by_architecture(), columns)


def _by_architecture() -> list[list[Published]]:
    sets = sorted(PUBLISHED.values(), key=attrgetter("architecture"))
    return [list(group) for _, group in groupby(sets, attrgetter("architecture"))]


def _size(sets: list[Published]) -> str:
    """Returns the range of sizes in MB, or that of the network if nobody states the size of its file."""
    if sizes := [p.size / 1e6 for p in sets if p.size]:
        return " to ".join(dict.fromkeys(f"{of(sizes):.1f}" for of in (min, max)))
    return f"about {_parameters(create_model(sets[0].architecture, device='meta', **sets[0].model_args)) * 4 / 1e6:.0f}"


def published_sets(page: str) -> str:
    """Writes a section for each architecture whose weights others publish: metadata, and the names of the sets."""
    columns = {
        "tag": lambda p: f"[`{p.tag}`]({p.where})",
        "trained on": lambda p: p.dataset,
        "size": lambda p: f"{p.size / 1e6:,.1f} MB" if p.size else "–",
    }
    parts = []
    for sets in _by_architecture():
        parts.append(f"### {sets[0].architecture}")
        for text, alike in groupby(sets, _shared):
            parts += [text, table(alike, columns)]
    return "\n\n".join(parts)


def _shared(p: Published) -> str:
    """Formats the fields of a set that its architecture's other sets often share."""
    fields = {"paper": "", "owner": p.owner} | p.describe() | {"paper": f"[{p.paper}]({p.paper_url})"}
    own = ("published by", "file", "size of the file", "checksum of the file", "trained on", "to convert it by hand")
    return "\n".join(f"* {title.capitalize()}: {text}" for title, text in fields.items() if title not in own)


def earthnet(page: str) -> str:
    """Lists the mean scores of the published networks and of baselines on test cubes of EarthNet2021."""
    header, *rows = score_table(recorded(EARTHNET))
    return markdown(header, [(f"`{name}`" if name in entry_points() else name, *others) for name, *others in rows])


sources = partial(
    rows_of,
    SOURCES,
    {
        "source": "`{}`".format,
        "reads": lambda name: "[{0}]({2})".format(*SOURCES[name].title.rpartition(", ")),
        "options": lambda name: ", ".join(f"`{option}`" for option in SOURCES[name].options) or "–",
        "writes back": lambda name: "yes" if SOURCES[name].export else "no",
    },
)


# ---- exports -----------------------------------------------------------------------------------------------------
def exports(page: str) -> str:
    """Lists the export formats of all names, or the reason why there is none."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, model in _models().items():
        kind = type(model).__name__
        if isinstance(model, ConvRNNModel):
            kind = re.sub(r"[123]d(_bi)?_\dlayer", r"{1,2,3}d\1_{1,2,3}layer", name)
        sequence, step = (exports_tool.files(model, form) for form in ("sequence", "step"))
        rows.setdefault((kind, sequence, step, sequence.replace(".onnx", ".pt2")), []).append(name)
    cells = [
        (f"`{kind}`" if "{" in kind else ", ".join(f"`{n}`" for n in names), *c) for (kind, *c), names in rows.items()
    ]
    return markdown(("names", "sequence", "step", "torch.export, sequence"), sorted(cells))


def weight_exports(page: str) -> str:
    """Lists size, time and difference of the exported files of one set of weights for each architecture."""
    files = recorded(exports_tool.MEASURED)
    versions = files.pop("versions")
    columns: dict[str, Any] = {"weights": "`{}`".format}
    columns |= {way: lambda name, way=way: _file_cell(files[name].get(way), way) for way in exports_tool.FILES}
    made = "`python -m tools.exports` with torch {torch} and onnxruntime {onnxruntime}.".format_map(versions)
    return f"{table(files, columns)}\n\n{made}"


def _file_cell(result: Any, way: str) -> str:
    if result is None:
        return "not run"
    if "error" in result:
        return f"no: {result['error'].partition('; ')[0]}"
    parts = [f"{result['bytes'] / 1e6:.2f} MB"]
    if way == "browser":
        time = f"{result['ms']:.0f}" if result["ms"] >= 10 else f"{result['ms']:.2g}"
        parts = [result["form"], f"{time} ms ({'×'.join(map(str, result['input'][1:]))})"]
    return ", ".join([*parts, *([f"{result['difference']:.0e}"] if "difference" in result else [])])


# ---- the project -------------------------------------------------------------------------------------------------
def citation(page: str) -> str:
    """Formats CITATION.cff as text and as BibTeX."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    people = [(a.get("name"), a.get("family-names"), a.get("given-names")) for a in cff["authors"]]
    authors = ", ".join(name or f"{given} {family}" for name, family, given in people)
    fields = {
        "author": " and ".join(f"{{{name}}}" if name else f"{family}, {given}" for name, family, given in people),
        "title": f"{{{cff['title']}}}",
        "version": cff["version"],
        "year": str(cff.get("date-released", ""))[:4],
        "url": public_address(),
        "doi": str(cff.get("doi", "")),
    }
    lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items() if value)
    words = f"> {authors}. *{cff['title']}*, version {cff['version']}. {cff['license']} licence."
    note = "" if "doi" in cff else "% There is no DOI yet: it comes with the first archived release.\n"
    return f"{words}\n\n```bibtex\n{note}@software{{convrnn_zoo,\n{lines}\n}}\n```"


def badge(page: str) -> str:
    """Links to the notebook of a tutorial, or names it before the repository is public."""
    file, source = notebooks.path(Path(page)).as_posix(), public_address()
    if not source:
        return f"This page is the notebook `{file}` of a checkout as well."
    colab = f"https://colab.research.google.com/github/{source.removeprefix('https://github.com/')}/blob/main/{file}"
    image = link("docs/badges/notebook.svg", page)
    return f"[![Open in Colab]({image})]({colab}) · [the notebook]({source}/blob/main/{file})"


def release(page: str) -> str:
    """States that there is no public repository, or shows its tests and how torch.hub loads it."""
    source = public_address()
    if not source:
        return "There is no public repository yet: use a checkout."
    name, tests = source.removeprefix("https://github.com/"), f"{source}/actions/workflows/tests.yml"
    hub = f'`torch.hub.load("{name}", "convlstm2d_bi_2layer")`'
    return f"[![Tests]({tests}/badge.svg)]({tests}) {hub} needs no installation."

"""Writes the generated parts of README, pages and model cards: ``python -m tools.docs``.

A generated part is enclosed by ``<!-- generated: NAME -->`` and ``<!-- end -->``. The text around it is preserved.
:mod:`tools.publish` writes the model cards. ``--check`` lists stale files, writes nothing and fails if there are any.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.tables import markdown, narrow
from convrnn_zoo import WEIGHTS, ConvRNNModel, Forecaster, Metric, WeightsMetadata, create_model, list_models
from convrnn_zoo.cli._text import format_metric
from convrnn_zoo.cli.demo import CLASSIFIER, HEADER, recordings
from convrnn_zoo.data import FRAME_DATASETS, LABELLED_DATASETS
from convrnn_zoo.interop import SOURCES
from convrnn_zoo.layers import KINDS
from convrnn_zoo.pretrained.builder import accepted_arguments
from convrnn_zoo.pretrained.published import PUBLISHED, find_published
from convrnn_zoo.pretrained.registry import entry_points
from convrnn_zoo.recipes import SAMPLINGS, Augment, ClassifierRecipe, ForecasterRecipe, Recipe, describe_fields
from convrnn_zoo.recipes.starter import FieldDoc
from convrnn_zoo.values.labels import axes as label_axes
from convrnn_zoo_command.group import COMMANDS

from . import docstrings, file_formats, ladder, notebooks, nowcasts, published, reference, timings
from . import exports as exports_tool
from . import weight_exports as weight_exports_tool
from .nowcasts import nowcast_meaning
from .publish import shipped_card
from .release import public_address
from .timings import link, recorded

ROOT = Path(__file__).parent.parent
PRECISIONS = ROOT / "tools" / "precision.json"
"""Results of ``python -m tools.precision``."""
VERSIONS = ROOT / "tools" / "versions.json"
"""Versions that the tests ran with, one entry per run."""
TITLES = {
    "convgru_advection.nowcast": ("rain in the next hour", "forecasts and probabilities from four radar images"),
    "convgru_forecaster.rain": ("rain, a small example", ""),
    "audio_convrnn.arabic_commands": ("40 spoken commands (Arabic)", "commands in running sound"),
    "audio_convrnn.fsdd": ("spoken digits (English)", "a start for own words"),
    "convgru1d_bi_2layer.watch": ("exercises, by a smartwatch", "a start for own sensors"),
    "convlstm1d_bi_1layer.japanese_vowels": ("nine speakers, by two vowels", "trying the package"),
    "convlstm2d_bi_2layer.radhar": ("five activities, by a radar", "a start for own radar points"),
    "video_convrnn.digit_motion": ("motion in clips (benchmark)", "a start for small clips"),
    "convlstm2d_bi_2layer.digit_motion": ("motion in clips (benchmark), both directions", ""),
    "convgru2d_1layer.digit_motion": ("motion in clips (benchmark), small", ""),
    "convgru_pyramid.moving_mnist": ("next frames (benchmark)", "comparing architectures"),
    "convgru_forecaster.moving_mnist": ("next frames (benchmark), small", ""),
    "convgru_pyramid.moving_fashion_mnist": ("next frames (benchmark), clothes", "comparing architectures"),
    "convgru_forecaster.moving_fashion_mnist": ("next frames (benchmark), clothes, small", ""),
}
"""Task of the weights, and for README their use, in the order of the tables. README lists those with a use."""

RECIPE_UNITS = {
    "step": "minutes", "pixel_km": "km", "floor": "unit of the data", "top": "unit of the data",
    "valid_min": "unit of the data", "valid_max": "unit of the data",
    "thresholds": "unit of the data", "fill_value": "stored number", "crop": "pixels",
    "stride": "pixels", "size": "pixels", "inputs": "frames", "horizon": "frames", "lead_times": "frames",
    "max_frames": "frames", "max_steps": "updates", "checkpoint_every": "updates", "cycles": "updates",
    "until": "updates", "begin": "updates", "end": "updates", "decay": "updates", "freeze_steps": "updates",
    "epochs": "epochs", "patience": "validations", "batch_size": "sequences", "gain": "dB", "color": "dB", "hiss": "dB",
    "tint": "dB", "rotate": "rad",
}  # fmt: skip
"""Units of the keys of recipes."""

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


# ---- tables from the registry and the metadata ----------------------------------------------------------------
def architectures(page: str) -> str:
    """Lists the families of the core with the pattern and number of their names."""
    rows = [
        (f"`{kind}{{1,2,3}}d[_bi]_{{1,2,3}}layer`", by_ndim[2].title, len(list_models(f"{kind}[123]d_*")))
        for kind, by_ndim in KINDS.items()
    ]
    return markdown(("names", "cell", "how many"), rows)


def layer_costs(page: str) -> str:
    """Lists parameters and cost per frame of the core families at their default sizes."""
    rows: list[tuple[object, ...]] = []
    for kind, by_ndim in KINDS.items():
        names = [f"{kind}2d_{n}layer" for n in (1, 2, 3)]
        sizes = [f"{_parameters(create_model(name, in_chans=1, device='meta')):,}" for name in names]
        rows.append(
            (f"`{kind}2d_…layer`", by_ndim[2].title, *sizes, f"{_a_frame_more(create_model(names[0], **_META)):.2f}")
        )
    return markdown(("name", "cell", "1 layer", "2 layers", "3 layers", "cost of a frame, 1 layer"), rows)


def forecasters(page: str) -> str:
    """Lists the forecasters with size, cost and available weights."""
    rows = []
    for name, model in _forecasters():
        ours = [w for w in WEIGHTS.values() if w.architecture == name]
        sizes = f"{_parameters(model):,}"
        if ours and {w.num_params for w in ours} != {_parameters(model)}:
            sizes += f" (with weights: {', '.join(sorted({f'{w.num_params:,}' for w in ours}))})"
        height = model.pretrained_cfg["input_size"][-1]
        links = ", ".join(f"[{w.name.partition('.')[2]}]({_card(w, page)})" for w in ours) or "none"
        links += f"; [others' weights]({link('docs/models/published.md', page)})" if find_published(name) else ""
        read = "–" if model.input_frames else f"{_a_frame_more(model):.2f}"
        ahead = f"{_a_frame_ahead(model):.2f}"
        rows.append((f"`{name}`", sizes, f"{height}²", read, ahead, links))
    costs = ("cost to read one", "cost to forecast one")
    return markdown(("name", "parameters", "frames", *costs, "weights here"), rows)


def weights(page: str) -> str:
    """Lists the weights by task with their main scores; README has their use, and one score with its meaning."""
    order = list(TITLES)
    known = sorted(WEIGHTS.values(), key=lambda w: order.index(w.name) if w.name in order else len(order))
    rows: list[tuple[str, ...]] = []
    for w in known:
        (title, use), link = TITLES.get(w.name, (w.task, "")), f"[`{w.name}`]({_card(w, page)})"
        if page == "README.md":
            if use:
                rows.append((title, link, use, _meaning(w)))
            continue
        others = [m for m in w.metrics[1:] if m.name.startswith("CSI") or m.name in UNSEEN][:1]
        ensembles_of = [format_metric(m) for m in w.metrics if m.name == "CRPS relative to STEPS"]
        figures = "; ".join([*map(_with_baselines, [w.metrics[0], *others]), *ensembles_of])
        rows.append((title, link, figures, f"{w.num_params:,}", w.trained_on))
    if page == "README.md":
        return markdown(("task", "weights", "good for", "score on test data"), rows)
    return markdown(("task", "weights", "score on test data", "parameters", "data (licence)"), rows)


UNSEEN = {"accuracy, unseen groups": "for people outside training", "accuracy, unseen days": "on days outside training"}
"""Metrics of other networks of a recipe on data that differ from those of training, and their meaning."""


def _meaning(w: WeightsMetadata) -> str:
    """Describes one score in words: for people or days outside training, if it was measured, else for the test data."""
    if w.name == "convgru_advection.nowcast":
        return nowcast_meaning()
    metric = next((m for m in w.metrics if m.name in UNSEEN), w.metrics[0])
    if metric.name.startswith("accuracy"):
        meaning = f" {UNSEEN[metric.name]}" if metric.name in UNSEEN else ""
        others = [f" ({k} {v:g} %)" for k, v in metric.baselines.items() if k in ("random forest", "linear model")]
        return f"{metric.value:g} % right{meaning}{''.join(others)}"
    less = 100 - 100 * metric.value / metric.baselines["last frame"]
    return f"{less:.0f} % less {metric.name} than repeating the last frame"


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
    rows = [(m.name, _spread(m), m.note) for m in WEIGHTS[CLASSIFIER].metrics]
    return markdown(("", "mean ± standard deviation", ""), rows)


def demo(page: str) -> str:
    """Lists the last recording of each class, as `make demo` prints it, and the accuracy over all recordings."""
    rows, right = recordings()
    last = [row[1:-1] for row in {row[2]: row for row in rows}.values()]
    return (
        f"{markdown(HEADER[1:-1], last)}\n\n{right} of {len(rows)} right; the last recording of each speaker is shown."
    )


def sources(page: str) -> str:
    """Lists the sources of checkpoints with required options, and whether models can be exported to their format."""
    rows = []
    for name, source in SOURCES.items():
        title, _, address = source.title.rpartition(", ")
        options = ", ".join(f"`{option}`" for option in source.options) or "–"
        rows.append((f"`{name}`", f"[{title}]({address})", options, "yes" if source.export else "no"))
    return markdown(("source", "reads", "options", "writes back"), rows)


def commands(page: str) -> str:
    """Lists the commands of the command line."""
    return markdown(("command", "description"), [(f"`convrnn-zoo {n}`", text) for n, (_, text) in COMMANDS.items()])


def recipe_keys(page: str) -> str:
    """Lists the keys of recipes and of their tables, with meaning, type, default and unit."""
    common = set(describe_fields(Recipe))  # a kind with another default lists the key again
    tables: list[tuple[str, type[Any], set[FieldDoc]]] = [
        ("Every recipe", Recipe, set()),
        ('`kind = "forecaster"`', ForecasterRecipe, common),
        ('`kind = "classifier"`', ClassifierRecipe, common),
        *(
            (f'`[data]` with `kind = "{kind}"`', cls, set())
            for kind, cls in {**FRAME_DATASETS, **LABELLED_DATASETS}.items()
        ),
        ("`[augment]` of a classifier", Augment, set()),
        *((f'`[sampling]` with `name = "{name}"`', cls, set()) for name, cls in SAMPLINGS.items()),
    ]
    parts = []
    for title, cls, left_out in tables:
        rows = [
            (
                f"`{f.name}`",
                f.meaning + (" Required." if f.default == "required" else ""),
                f.type,
                "" if f.default in ("required", "none") else f"`{f.default}`",
                RECIPE_UNITS.get(f.name, ""),
            )
            for f in describe_fields(cls)
            if f not in left_out
        ]
        if rows:
            parts.append(f"## {title}\n\n" + markdown(("key", "meaning", "type", "default", "unit"), rows))
    return "\n\n".join(parts)


def axis_names(page: str) -> str:
    """Lists the attributes and the names by which the axes of labelled frames are recognised."""
    rows = []
    for axis, names in label_axes.NAMES.items():
        keys = label_axes.ATTRIBUTES[axis]
        columns = [axis], [k for k in keys if len(k) == 1], [k for k in keys if len(k) > 1], names
        rows.append(tuple(", ".join(f"`{name}`" for name in column) for column in columns))
    return markdown(("dimension", "`axis`", "`standard_name`, or its units", "names"), rows)


def exports(page: str) -> str:
    """Lists the export formats of all names, or the reason why there is none."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, results in exports_tool.recorded().items():
        row = tuple(_export_cell(results[way]) for way in exports_tool.WAYS)
        rows.setdefault((_ALIKE.sub(r"\1{1,2,3}d\2_{1,2,3}layer", name), *row), []).append(name)
    of_kind = exports_tool.names()
    table: list[tuple[str, ...]] = []
    for (pattern, *ways), names in rows.items():
        alike = [pattern] if len(names) == 3 else [n for name in names for n in of_kind.get(name, [])]
        table.append((", ".join(f"`{n}`" for n in alike), *ways))
    return markdown(("names", "sequence", "step", "torch.export, sequence"), sorted(table))


def weight_exports(page: str) -> str:
    """Lists size, time and difference of the exported files of one set of weights for each architecture."""
    rows = []
    for name, results in weight_exports_tool.recorded().items():
        if name != "versions":
            rows.append((f"`{name}`", *(_file_cell(results.get(way), way) for way in weight_exports_tool.WAYS)))
    return markdown(("weights", *weight_exports_tool.WAYS), rows)


def _file_cell(result: Any, way: str) -> str:
    if result is None:
        return "not run"
    if "error" in result:
        return f"no: {result['error'].partition('; ')[0]}"
    parts = [f"{result['bytes'] / 1e6:.2f} MB"] if way != "browser" else [result["form"]]
    if way == "browser":
        time = f"{result['ms']:.0f}" if result["ms"] >= 10 else f"{result['ms']:.2g}"
        parts.append(f"{time} ms ({'×'.join(map(str, result['input'][1:]))})")
    if "difference" in result:
        parts.append(f"{result['difference']:.0e}")
    return ", ".join(parts)


def weight_export_versions(page: str) -> str:
    """States the versions with which the files were exported and run."""
    versions = weight_exports_tool.recorded()["versions"]
    return f"torch {versions['torch']}, onnxruntime {versions['onnxruntime']}"


def versions(page: str) -> str:
    """Lists the versions that the tests ran with."""
    rows = [tuple(run.values()) for run in recorded(VERSIONS)]
    return markdown(("Python", "torch", "timm", "huggingface-hub", "what was run"), rows)


def entries(page: str) -> str:
    """Writes one section per forecaster from its docstring."""
    return _entries(name for name, _ in _forecasters())


def networks(page: str) -> str:
    """Writes one section per video or dense model from its docstring."""
    models = {name: create_model(name, device="meta") for name in entry_points()}
    return _entries(n for n, m in models.items() if type(m) is not ConvRNNModel and not isinstance(m, Forecaster))


def _entries(names: Iterable[str]) -> str:
    parts = []
    for name in names:
        about = inspect.cleandoc(str(entry_points()[name].__doc__)).partition("\nArgs:\n")[0]
        parts.append(f"### {name}\n\n{docstrings.markdown(about).strip()}\n\nTakes {arguments(name)}.")
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
    return f"{listed}; see {docstrings.markdown(f':class:`~{cls.__module__}.{cls.__name__}`').strip()}"


def citation(page: str) -> str:
    """Formats CITATION.cff as text and as BibTeX."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    title, version = cff["title"], cff["version"]
    people = [(a.get("name"), a.get("family-names"), a.get("given-names")) for a in cff["authors"]]
    authors = ", ".join(name or f"{given} {family}" for name, family, given in people)
    bibtex = " and ".join(f"{{{name}}}" if name else f"{family}, {given}" for name, family, given in people)
    fields = {"author": bibtex, "title": f"{{{title}}}", "version": version}
    if "date-released" in cff:
        fields["year"] = str(cff["date-released"])[:4]
    fields |= {"url": source} if (source := public_address()) else {}
    fields |= {"doi": str(cff["doi"])} if "doi" in cff else {}
    lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items())
    words = f"> {authors}. *{title}*, version {version}. {cff['license']} licence."
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


# ---- tables of measurements ------------------------------------------------------------------------------------
def precisions(page: str) -> str:
    """Lists file size and loss of accuracy of the weights in each dtype."""
    rows: list[tuple[object, ...]] = []
    for name, measured in recorded(PRECISIONS)["weights"].items():
        for row in measured:
            size = f"{row['bytes'] / 1000:,.0f} kB"
            if "accuracy" in row:
                rows.append((f"`{name}`", row["precision"], size, "", f"accuracy {row['accuracy']:g} %"))
                continue
            unit = row["unit"]
            squared = f" ({unit})²" if unit else ""
            errors = [f"MSE {row['mse']:.4g}{squared}"]
            if test := row.get("test"):
                csi = ", ".join(f"{k} {unit} {v:.4f}" for k, v in list(test.items())[2:4])
                errors.append(f"{test['sequences']} test sequences: MSE {test['mse']:.4g}{squared}, {csi}")
            rows.append(
                (f"`{name}`", row["precision"], size, f"{row['difference']:.2g} {unit}".rstrip(), "; ".join(errors))
            )
    return markdown(("weights", "precision", "file", "difference", "errors"), rows)


# ---- helpers -----------------------------------------------------------------------------------
_ALIKE = re.compile(r"(conv\w+?)[123]d(_bi)?_\dlayer")


def _export_cell(result: str) -> str:
    why = result.partition("error: ")[2]
    return f"no: {why.partition(';')[0]}" if why else result.replace("NAME", "…").replace(" and ", ", ")


_META: dict[str, Any] = {"in_chans": 1, "device": "meta"}


def _card(metadata: WeightsMetadata, page: str) -> str:
    cards = "model_cards" if page == "README.md" else "docs/models/weights"  # the site reads them through a link
    return link(f"{cards}/{metadata.name}.md", page)


def _with_baselines(metric: Metric) -> str:
    """Returns a metric with its baselines."""
    known = ("last frame", "extrapolation", "S-PROG", "random forest", "linear model")
    others = ", ".join(f"{k} {metric.baselines[k]:g}" for k in known if k in metric.baselines)
    return format_metric(metric) + (f" ({others})" if others else "")


def _spread(metric: Metric) -> str:
    return f"{metric.mean:g} ± {metric.std:g} %"


def _parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@cache
def _forecasters() -> tuple[tuple[str, Any], ...]:
    built = ((name, create_model(name, device="meta").eval()) for name in entry_points())
    return tuple(sorted(((name, model) for name, model in built if isinstance(model, Forecaster)), key=lambda f: f[0]))


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


def _a_frame_more(model: Any) -> float:
    call = {"horizon": 2} if isinstance(model, Forecaster) else {}
    return _cost(model, 4, **call) - _cost(model, 3, **call)


def _a_frame_ahead(model: Any) -> float:
    frames = model.input_frames or 3
    return _cost(model, frames, horizon=3) - _cost(model, frames, horizon=2)


# ---- pages ---------------------------------------------------------------------------------------------------
PARTS: dict[str, Callable[[str], str]] = {
    name: part
    for module in (sys.modules[__name__], file_formats, ladder, nowcasts, published, reference, timings)
    for name, part in vars(module).items()
    if inspect.isfunction(part) and list(inspect.signature(part).parameters) == ["page"]
}
"""The functions that write the generated parts, by name."""


def fill(text: str, page: str) -> str:
    """Returns the text of a page with all generated parts updated."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{narrow(PARTS[match[2]](page))}\n{match[3]}"

    return _PART.sub(part, text)


def pages(root: Path = ROOT) -> list[Path]:
    """Returns the files that have generated parts."""
    written = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    cards = [root / "model_cards" / f"{name}.md" for name in WEIGHTS]
    return [p for p in written if _PART.search(p.read_text(encoding="utf-8"))] + cards


def stale(root: Path = ROOT) -> dict[Path, str]:
    """Returns the stale files with their new text."""
    updates = {}
    for path in pages(root):
        text = path.read_text(encoding="utf-8") if path.exists() else None
        page = path.relative_to(root).as_posix()
        new = fill(shipped_card(WEIGHTS[path.stem], text or "") if path.stem in WEIGHTS else text or "", page)
        if new != text:
            updates[path] = new
        if notebooks.has_notebook(path):
            file = root / notebooks.path(path)
            content = notebooks.notebook(new)
            if not file.exists() or file.read_text(encoding="utf-8") != content:
                updates[file] = content
    return updates


def main(argv: Sequence[str]) -> int:
    """Updates stale files, or lists them and fails with ``--check``."""
    updates = stale()
    for path, text in updates.items():
        print(path.relative_to(ROOT))
        if "--check" not in argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int("--check" in argv and bool(updates))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The generated parts of README, the site's pages and the cards: ``python -m tools.docs`` writes them.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. A card's facts stand between markers
of their own; what is written around them is kept. ``--check`` names what is stale and fails, and writes nothing.
"""

import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import report
from convrnn_zoo.cli._group import cli
from convrnn_zoo.cli.demo import CLASSIFIER, HEADER, recordings
from convrnn_zoo.cli.names import figure
from convrnn_zoo.hub import card_text
from convrnn_zoo.interop import SOURCES
from convrnn_zoo.layers import KINDS
from convrnn_zoo.models import WEIGHTS, ConvRNNModel, Forecaster, Metric, Weights, create_model, list_models
from convrnn_zoo.pretrained.published import PUBLISHED
from convrnn_zoo.pretrained.registry import entry_points

from . import docstrings as reference
from . import exports as tried
from .published import elsewhere, published_speed
from .tables import markdown

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "benchmarks" / "measured.json"
"""The ``bench.json`` of the run that the page on speed shows."""
NORMS = ROOT / "benchmarks" / "norms.json"
PRECISIONS = ROOT / "tools" / "precision.json"
"""What ``python -m benchmarks.norms`` and ``python -m tools.precision`` have measured."""
VERSIONS = ROOT / "tools" / "versions.json"
"""The versions that the tests were run with, a row a run."""
NOWCASTS = ROOT / "tools" / "nowcasts.json"
"""What ``convrnn-zoo verify --members 20 --json`` wrote of the shipped nowcast, by event of the test."""
SPOKEN = "convgru1d_bi_2layer.fsdd"
"""The weights for spoken digits that README shows."""
CARDS = {"README.md": "model_cards"}
"""Where the cards lie, seen from a page; from a page of the site, in ``weights/``."""

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PUBLISHED = re.compile(r"((?:Published|A public reproduction)\b.*?\.)(?= [A-Z]|$)")


# ---- what the registry and the records say -------------------------------------------------------------------
def architectures(page: str) -> str:
    """A row a family: the pattern of its names and how many there are."""
    rows = [
        (f"`{kind}{{1,2,3}}d[_bi]_{{1,2,3}}layer`", by_ndim[2].title, len(list_models(f"{kind}[123]d_*")))
        for kind, by_ndim in KINDS.items()
    ]
    return markdown(("names", "cell", "how many"), rows)


def layer_costs(page: str) -> str:
    """A row a family: parameters of one to three layers at the default sizes, and the cost of a frame."""
    rows: list[tuple[object, ...]] = []
    for kind, by_ndim in KINDS.items():
        names = [f"{kind}2d_{n}layer" for n in (1, 2, 3)]
        sizes = [f"{_parameters(create_model(name, in_chans=1, device='meta')):,}" for name in names]
        rows.append(
            (f"`{kind}2d_…layer`", by_ndim[2].title, *sizes, f"{_a_frame_more(create_model(names[0], **_META)):.2f}")
        )
    return markdown(("name", "cell", "1 layer", "2 layers", "3 layers", "cost of a frame, 1 layer"), rows)


def forecasters(page: str) -> str:
    """A row a forecaster: size, cost, what was published of it, and whether the zoo has weights for it."""
    rows = []
    for name, model in _forecasters():
        ours = [w for w in WEIGHTS.values() if w.architecture == name]
        sizes = f"{_parameters(model):,}"
        if ours and {w.num_params for w in ours} != {_parameters(model)}:
            sizes += f" (with weights: {', '.join(sorted({f'{w.num_params:,}' for w in ours}))})"
        height = model.pretrained_cfg["input_size"][-1]
        told = _PUBLISHED.findall(" ".join(str(entry_points()[name].__doc__).split()))
        links = ", ".join(f"[{w.name.partition('.')[2]}]({_card(w, page)})" for w in ours) or "none"
        links += "; [others' weights](published.md)" if name in PUBLISHED else ""
        read = "–" if model.input_frames else f"{_a_frame_more(model):.2f}"
        ahead = f"{_a_frame_ahead(model):.2f}"
        rows.append((f"`{name}`", sizes, f"{height}²", read, ahead, " ".join(told) or "–", links))
    costs = ("cost to read one", "cost to forecast one")
    return markdown(("name", "parameters", "frames", *costs, "published elsewhere", "weights here"), rows)


def weights(page: str) -> str:
    """A row a set of weights: its data, its size, and the figures that tell most; in README some stand for others."""
    rows = []
    for w in WEIGHTS.values():
        like = [other for other in WEIGHTS.values() if other.dataset == w.dataset]
        if page == "README.md" and len(like) > 2 and w.name not in (CLASSIFIER, SPOKEN):
            continue
        first, *others = w.metrics
        telling = [first, *(m for m in others if m.name.startswith("CSI") or m.name == "accuracy, never heard")][:2]
        figures = "; ".join(map(_beside, telling))
        if page == "README.md" and len(like) > 2:
            figures += f"; {len(like) - 1} more, of other cells and directions"
        rows.append((f"[`{w.name}`]({_card(w, page)})", w.trained_on, f"{w.num_params:,}", figures))
    return markdown(("weights", "data (licence)", "parameters", "figures on test data"), rows)


def unweighted(page: str) -> str:
    """How many names have weights."""
    having = sorted({w.architecture for w in WEIGHTS.values()})
    return (
        f"Of {len(list_models())} names, {len(having)} have weights: {', '.join(f'`{name}`' for name in having)}. "
        "Every other name builds an untrained network: train it before you use what it says."
    )


def padding(page: str) -> str:
    """What reading the padding as data costs the weights that the demo shows."""
    rows = [(m.name, _spread(m), m.note) for m in WEIGHTS[CLASSIFIER].metrics]
    return markdown(("", "mean ± standard deviation", ""), rows)


def vowels(page: str) -> str:
    """A row a cell and direction: the accuracy on JapaneseVowels with lengths and without."""
    rows = []
    for name, w in WEIGHTS.items():
        if name.endswith(".vowels"):
            layer: Any = create_model(w.architecture, device="meta")
            directions = "both" if layer.rnn.bidirectional else "one"
            rows.append((layer.rnn.title, directions, f"{w.num_params:,}", *map(_spread, w.metrics)))
    header = (
        "cell",
        "directions",
        "parameters",
        "accuracy",
        "lengths withheld",
        "trained without lengths",
        "the same, one by one",
    )
    return markdown(header, sorted(rows))


def digits(page: str) -> str:
    """A row a set of weights for spoken digits: the official split, and each speaker when never heard."""
    rows, speakers = [], []
    for name, w in WEIGHTS.items():
        if name.endswith(".fsdd"):
            official, unheard, *each = w.metrics
            speakers = [m.name.removeprefix("accuracy, ").removesuffix(" never heard") for m in each]
            row = [f"{w.num_params:,}", f"{official.value:g} %", _spread(official), f"**{unheard.value:.1f} %**"]
            rows.append((f"[`{name}`]({_card(w, page)})", *row, *(f"{m.value:.1f}" for m in each)))
    header = ("weights", "parameters", "official split", "five seeds", "never heard", *speakers)
    return markdown(header, rows)


def nowcasts(page: str) -> str:
    """A row an event and a group of lead times: CSI and MSE of the nowcast weights beside extrapolation's."""
    rows: list[tuple[object, ...]] = []
    for event in _recorded(NOWCASTS).values():
        ours, theirs = event["forecast"], event["extrapolation"]
        for i, group in enumerate(ours["CSI 0.5"]):
            csi = [f"{ours[k][group]:.3f} ({theirs[k][group]:.3f})" for k in ("CSI 0.5", "CSI 2", "CSI 5")]
            rows.append((event["title"], group, *csi, "" if i else f"{ours['MSE'] / theirs['MSE']:.2f}"))
    csi_of = [f"CSI {t} mm/h (extrapolation)" for t in ("0.5", "2", "5")]
    return markdown(("event", "lead time", *csi_of, "MSE / extrapolation's"), rows)


def ensembles(page: str) -> str:
    """A row an event: CRPS and Brier scores of the nowcast's probabilities beside those of STEPS."""
    names = ("CRPS", "Brier 0.5", "Brier 2")
    rows: list[tuple[object, ...]] = []
    for event in _recorded(NOWCASTS).values():
        means = {m: [fmean(of[f"{n} by frame"]) for n in names] for m, of in event["ensembles"].items()}
        rows.append(
            (event["title"], *(f"{a:.4f} ({b:.4f})" for a, b in zip(means["forecast"], means["STEPS"], strict=True)))
        )
    return markdown(("event", *(f"{n} (STEPS)" for n in names)), rows)


def demo(page: str) -> str:
    """The last recording of each class, as `make demo` shows it, and the accuracy over all."""
    rows, right = recordings()
    last = [row[1:-1] for row in {row[2]: row for row in rows}.values()]
    return (
        f"{markdown(HEADER[1:-1], last)}\n\n{right} of {len(rows)} right; the last recording of each speaker is shown."
    )


def sources(page: str) -> str:
    """A row a source of checkpoints: what it is, what must be said beside the file, whether it is written back."""
    rows = []
    for name, source in SOURCES.items():
        title, _, address = source.title.rpartition(", ")
        options = ", ".join(f"`{option}`" for option in source.options) or "–"
        rows.append((f"`{name}`", f"[{title}]({address})", options, "yes" if source.export else "no"))
    return markdown(("source", "reads", "options", "writes back"), rows)


def commands(page: str) -> str:
    """A row a command of the command line."""
    rows = [(f"`convrnn-zoo {name}`", command.get_short_help_str(200)) for name, command in cli.commands.items()]
    return markdown(("command", "what it does"), sorted(rows))


def exports(page: str) -> str:
    """A row a kind of names: the form of a file that they have, or why they have none."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, found in tried.recorded().items():
        row = tuple(_told(found[way]) for way in tried.WAYS)
        rows.setdefault((_ALIKE.sub(r"\1{1,2,3}d\2_{1,2,3}layer", name), *row), []).append(name)
    of_kind = tried.names()
    table: list[tuple[str, ...]] = []
    for (pattern, *ways), names in rows.items():
        alike = [pattern] if len(names) == 3 else [n for name in names for n in of_kind.get(name, [])]
        table.append((", ".join(f"`{n}`" for n in alike), *ways))
    return markdown(("names", "sequence", "step", "torch.export, sequence"), sorted(table))


def versions(page: str) -> str:
    """The versions that were run."""
    rows = [tuple(run.values()) for run in _recorded(VERSIONS)]
    return markdown(("Python", "torch", "timm", "huggingface-hub", "what was run"), rows)


def entries(page: str) -> str:
    """A section a forecaster: what its name says of itself."""
    return _entries(name for name, _ in _forecasters())


def networks(page: str) -> str:
    """A section a video or dense model."""
    models = {name: create_model(name, device="meta") for name in entry_points()}
    return _entries(name for name, m in models.items() if not isinstance(m, ConvRNNModel | Forecaster))


def _entries(names: Iterable[str]) -> str:
    parts = []
    for name in names:
        about, _, rest = inspect.cleandoc(str(entry_points()[name].__doc__)).partition("\nArgs:\n")
        takes = " ".join(rest.partition("\n\n")[0].partition("its default.")[2].split())
        parts.append(f"### {name}\n\n{reference.markdown(about).strip()}\n\nTakes {reference.markdown(takes)}")
    return "\n\n".join(parts)


def citation(page: str) -> str:
    """CITATION.cff in words and for BibTeX."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors, title, version = cff["authors"][0]["name"], cff["title"], cff["version"]
    fields = {"author": f"{{{authors}}}", "title": f"{{{title}}}", "version": version}
    lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items())
    words = f"> {authors}. *{title}*, version {version}. {cff['license']} licence."
    return f"{words}\n\n```bibtex\n@software{{convrnn_zoo,\n{lines}\n}}\n```"


# ---- what was measured ---------------------------------------------------------------------------------------
def speed(page: str) -> str:
    """Every table of the benchmark's run that is kept."""
    return report.table(_recorded(MEASURED))


def speed_summary(page: str) -> str:
    """A row a shape: our time, and how many times as long the fastest other scheme takes."""
    rows: list[tuple[object, ...]] = []
    cases = _recorded(MEASURED)["cases"]
    peers = {k: t for k, t in _PEERS.items() if all(k in report.fastest_peers(case["inference"]) for case in cases)}
    for case in cases:
        row: list[object] = [case["title"]]
        for task in ("inference", "training"):
            fastest = report.fastest_peers(case[task])
            row += [f"{1e3 * median(case[task]['ours']):.1f}", *(f"{fastest[k]:.2f}" for k in peers)]
        rows.append(tuple(row))
    titles = ("ms", *peers.values())
    return markdown(("shape", *(f"{task}, {t}" for task in ("inference", "training") for t in titles)), rows)


def machine(page: str) -> str:
    """What was measured on."""
    result = _recorded(MEASURED)
    m = result["machine"]
    return (
        f"Measured on {m['processor']} with {m['threads']} threads and torch {m['torch']}; each time is the median of "
        f"{result['rounds']} runs, the implementations taking turns."
    )


def norms(page: str) -> str:
    """A row a shape: how many times as long as the plain layer a normed one takes."""
    result = _recorded(NORMS)
    rows = []
    for case in result["cases"]:
        ratios = [case[t][n] / case[t]["plain"] for n in ("layer", "group") for t in ("inference", "training")]
        rows.append((case["title"], *(f"{ratio:.2f}" for ratio in ratios)))
    header = ("shape", *(f"{norm} norm, {task}" for norm in ("layer", "group") for task in ("inference", "training")))
    told = (
        f"`python -m benchmarks.norms` with torch {result['torch']}, {result['threads']} thread, "
        f"{'processor' if result['clock'] == 'cpu' else 'wall'} time; medians of {result['rounds']} runs in turn."
    )
    return f"{markdown(header, rows)}\n\n{told}"


def precisions(page: str) -> str:
    """A row a set of weights and precision: the size of its file, and what it costs."""
    rows: list[tuple[object, ...]] = []
    for name, measured in _recorded(PRECISIONS)["weights"].items():
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


def extras() -> list[str]:
    """The optional parts of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


# ---- parts of the parts --------------------------------------------------------------------------------------
_ALIKE = re.compile(r"(conv\w+?)[123]d(_bi)?_\dlayer")


def _told(found: str) -> str:
    """A cell of the table of exports."""
    why = found.partition("refused: ")[2]
    return f"no: {why.partition(';')[0]}" if why else found.replace("NAME", "…").replace(" and ", ", ")


_META: dict[str, Any] = {"in_chans": 1, "device": "meta"}
_PEERS = {"fastest peer": "fastest other", "fastest compiled peer": "fastest compiled"}


def _recorded(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _card(record: Weights, page: str) -> str:
    return f"{CARDS.get(page, 'weights')}/{record.name}.md"


def _beside(metric: Metric) -> str:
    others = ", ".join(f"{k} {metric.baselines[k]:g}" for k in ("last frame", "extrapolation") if k in metric.baselines)
    return figure(metric) + (f" ({others})" if others else "")


def _spread(metric: Metric) -> str:
    """Mean and standard deviation of a figure in per cent."""
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
    """Multiply-adds of a forward pass on the meta device, in units of 10⁹."""
    size = model.pretrained_cfg["input_size"][-1] if "horizon" in call else 64
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, frames, 1, size, size, device="meta"), **call)
    return counter.get_total_flops() / 2e9


def _a_frame_more(model: Any) -> float:
    call = {"horizon": 2} if isinstance(model, Forecaster) else {}
    return _cost(model, 4, **call) - _cost(model, 3, **call)


def _a_frame_ahead(model: Any) -> float:
    frames = model.input_frames or 3
    return _cost(model, frames, horizon=3) - _cost(model, frames, horizon=2)


# ---- pages ---------------------------------------------------------------------------------------------------
PARTS: dict[str, Callable[[str], str]] = {
    part.__name__: part
    for part in (
        architectures, layer_costs, forecasters, weights, unweighted, nowcasts, ensembles, padding, demo, sources,
        commands, exports, versions, entries, citation, speed, speed_summary, machine, norms, precisions, elsewhere,
        published_speed, networks, digits, vowels,
    )
}  # fmt: skip


def fill(text: str, page: str) -> str:
    """The text of a page with every generated part made anew."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{PARTS[match[2]](page)}\n{match[3]}"

    return _PART.sub(part, text)


def pages(root: Path = ROOT) -> list[Path]:
    """The files that have generated parts."""
    written = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    cards = [root / "model_cards" / f"{name}.md" for name in WEIGHTS]
    return [p for p in written if _PART.search(p.read_text(encoding="utf-8"))] + cards


def stale(root: Path = ROOT) -> dict[Path, str]:
    """The files that are not what they should be, with what they should be."""
    found = {}
    for path in pages(root):
        text = path.read_text(encoding="utf-8") if path.exists() else None
        new = card_text(WEIGHTS[path.stem], text) if path.stem in WEIGHTS else fill(text or "", path.name)
        if new != text:
            found[path] = new
    return found


def main(argv: Sequence[str]) -> int:
    """Writes what is stale, or with ``--check`` names it and fails."""
    found = stale()
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if "--check" not in argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int("--check" in argv and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.nn.utils.rnn import PackedSequence

from benchmarks import precision, scaling
from benchmarks.__main__ import bench
from benchmarks.cases import CASES, LONG, Case
from benchmarks.floor import floor
from benchmarks.measure import interleaved
from benchmarks.new_sizes import first_over_third
from benchmarks.peers import Output, autograd_of_the_step, load_peer
from benchmarks.plain import OneConvolution, Plain
from benchmarks.report import table
from benchmarks.shares import KINDS, classify

ROOT = Path(__file__).parents[2]
MACHINE = {"processor": "this one", "threads": 2, "torch": "t", "convrnn_zoo": "z", "clock": "wall"}
PEER = """
from torch import nn

class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        self.layer(x)
        return self.layer(x)[0]

def build(case):
    return Twice(case.layer()) if case.kind == "LSTM" else None
"""


def run(*args):
    return CliRunner().invoke(bench, ["--no-memory", *map(str, args)])


def test_a_run_writes_numbers_table_and_chart(tmp_path):
    peer = tmp_path / "peer"
    peer.mkdir()
    (peer / "convrnn_peer.py").write_text(PEER)
    done = run(
        "--case",
        "tiny",
        "--rounds",
        3,
        "--implementation",
        "twice",
        "--peer",
        f"twice={peer}",
        "-o",
        tmp_path / "out",
    )
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "bench.json").read_text())
    (case,) = result["cases"]
    for task in ("inference", "training"):
        assert {name: len(times) for name, times in case[task].items()} == {"ours": 3, "twice": 3, "floor": 3}
    assert (tmp_path / "out" / "bench.md").read_text().strip() == table(result)
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"bench.json", "bench.md", "bench.png"}


@pytest.mark.slow
def test_a_profile_splits_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.shares.SPAN", 0.05)
    done = run("--case", "tiny", "--rounds", 1, "--implementation", "ours", "--profile", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    (case,) = json.loads((tmp_path / "bench.json").read_text())["cases"]
    for task in ("inference", "training"):
        parts = dict(zip(KINDS, case["shares"][task]["ours"], strict=True))
        assert sum(parts.values()) == pytest.approx(1, abs=0.01)
        assert min(parts.values()) > 0
    assert all(name in done.output for name in KINDS)


@pytest.mark.slow
def test_scaling_writes_exponents_and_the_throughput_of_streams(tmp_path, monkeypatch):
    small = scaling.BASE._replace(steps=2, batch=1, in_channels=1, channels=2, size=(4, 4))
    monkeypatch.setattr("benchmarks.scaling.BASE", small)
    monkeypatch.setattr("benchmarks.scaling.STREAMS", (small,))
    monkeypatch.setattr("benchmarks.scaling.SECONDS", 0.05)
    monkeypatch.setattr("benchmarks.scaling.in_a_fresh_process", lambda function, *args: function(*args))
    monkeypatch.setattr("benchmarks.scaling.peak_of", lambda case, name: 1000 * case.steps**2 * case.batch)
    threads = torch.get_num_threads()
    done = CliRunner().invoke(bench, ["--scaling", "--rounds", "1", "-o", str(tmp_path)])
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "scaling.json").read_text())
    steps = result["axes"]["steps"]
    assert set(result["axes"]) == {"steps", "batch", "pixels", "channels"}
    assert all(t > 0 for task in ("inference", "training") for t in steps[task]["one convolution"])
    assert scaling.exponent(steps["values"], steps["memory"]["ours"]) == pytest.approx(2)
    assert "steps" in done.output
    assert [(row["threads"], row["streams"]) for row in result["streams"]] == [
        (n, s) for n in (1, 2) for s in (1, 2, 4)
    ]
    assert all(row["frames_per_second"] > 0 for row in result["streams"])
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_options_that_a_mode_does_not_use_are_rejected(tmp_path):
    done = run("--scaling", "--case", "tiny", "--peer", f"a={tmp_path}", "--profile")
    assert done.exit_code == 2
    assert all(option in done.output for option in ("--scaling", "--case", "--profile", "--peer"))
    done = CliRunner().invoke(bench, ["--scaling", "--device", "cuda", "--rounds", "1"])
    assert done.exit_code == 2
    assert re.search("--device cuda.*--scaling", done.output)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("calls", [1, 2])
def test_a_stream_that_fails_before_or_after_the_start_ends_the_measurement(calls, monkeypatch):
    class Fails:
        count = 0

        def __call__(self):
            self.count += 1
            if self.count == calls:
                raise RuntimeError("out of memory")

    monkeypatch.setattr(scaling, "inference", lambda forward, x: Fails())
    with pytest.raises(RuntimeError, match="out of memory"):
        scaling.frames_per_second(scaling.STREAMS[0], torch.get_num_threads(), 2, 30.0)


def test_operations_are_classified():
    kinds = {
        "mkldnn::_convolution_pointwise": "convolutions",
        "aten::convolution_backward": "convolutions",
        "aten::mkldnn_reorder_conv2d_weight": "convolutions",
        "aten::sigmoid_": "gates",
        "aten::tanh_backward": "gates",
        "aten::copy_": "copies",
        "aten::cat": "copies",
        "aten::as_strided": "rest",
        "ScanBackward": "rest",
    }
    assert {name: classify(name) for name in kinds} == kinds


@pytest.mark.slow
def test_peaks_are_measured_for_every_implementation_that_supports_the_case(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.CASES", [Case("gru", "GRU", 10, 4, 16, 32, (16, 16), 3)])
    done = CliRunner().invoke(
        bench, ["--case", "gru", "--rounds", "1", "--implementation", "one convolution", "-o", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    (case,) = json.loads((tmp_path / "bench.json").read_text())["cases"]
    assert set(case["peak_bytes"]) == {"ours"}  # a GRU's candidate is not one convolution over both
    assert case["peak_bytes"]["ours"] > 1 << 20


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--implementation", "theirs"], "ours"),
        (["--peer", "theirs"], "NAME=DIR"),
        (["--peer", "theirs=nowhere"], "convrnn_peer.py"),
        (["--case", "huge"], "'huge'"),
    ],
)
def test_unknown_values_are_named_in_the_error(args, words):
    done = run(*args)
    assert done.exit_code == 2
    assert words in done.output


def make_cases(**seconds):
    """Two cases, the second with other seconds for those that have a pair."""
    return [
        {
            "name": n,
            "title": n,
            "training": {name: [t[i] if isinstance(t, tuple) else t] for name, t in seconds.items()},
        }
        for i, n in enumerate(("one", "two"))
    ]


def render_table(cases, rounds=1, **more):
    return table({"machine": MACHINE, "rounds": rounds, "cases": cases, **more}, ["training"])


def test_the_table_compares_rounds_and_knows_the_fastest_peer():
    times = {"ours": [1.0, 2.0, 4.0], "a": [2.0, 4.0, 4.0], "b": [1.5, 3.0, 60.0], "floor": [0.5, 1.0, 2.0]}
    other = {name: [8 * t for t in ts] if name == "a" else ts for name, ts in times.items()}
    cases = [{"name": n, "title": n, "training": ts} for n, ts in (("one", times), ("two", other))]
    lines = render_table(cases, rounds=3).splitlines()
    assert lines[2] == "| case | ours, ms | fastest peer | a | b | floor |"
    assert lines[4] == "| one | 2000.0 | 1.50 | 2.00 | 1.50 | 0.50 |"
    assert lines[5] == "| two | 2000.0 | 1.50 | 16.00 | 1.50 | 0.50 |"
    assert lines[6] == "| geometric mean |  | 1.50 | 5.66 | 1.50 | 0.50 |"


def test_other_checkouts_and_our_variants_do_not_count_as_peers():
    ours = {"ours": 2.0, "ours of old": 1.0, "ours recomputing": 1.0, "autograd of the step": 1.0, "ours compiled": 1.0}
    lines = render_table(make_cases(**ours, floor=0.5, a=4.0, **{"a compiled": 3.0})).splitlines()
    assert lines[2].startswith("| case | ours, ms | fastest peer | fastest compiled peer | a | a compiled | ours of ")
    assert lines[4].startswith("| one | 2000.0 | 2.00 | 1.50 | 2.00 | 1.50 | 0.50 |")


def test_peers_other_checkouts_and_cells_without_a_derivative_are_summarized():
    more = {"ours of old": (1.9, 2.2), "autograd of the step": (2.2, 2.4), "ours padded": 9.0, "a compiled": 3.0}
    summary = [
        row for row in render_table(make_cases(ours=2.0, a=(4.0, 16.0), floor=1.0, **more)).splitlines() if "*" in row
    ]
    assert [re.findall(r"\d\.\d\d|(?<=\()(?:one|two)", line) for line in summary] == [
        ["4.00", "2.00", "one", "8.00", "two"],
        ["4.00", "2.00", "one", "8.00", "two"],
        ["1.02", "0.95", "one", "1.10", "two"],
        ["1.15", "1.10", "one", "1.20", "two"],
    ]
    assert ["old" in line for line in summary] == [False, False, True, False]


def test_the_table_of_errors_reports_the_largest_ratio():
    row = {"layer": "a layer", "dtype": "float16", "output": [1e-3, 2e-3], "gradient": [4e-3, 1e-3]}
    rows = [{**row, "scale": 1.0}, {**row, "scale": 0.1, "output": [0.0, 0.0], "gradient": [3e-3, 3e-3]}]
    text = render_table([], errors=rows)
    assert "| a layer | float16 | 1e-03 (0.50) / 4e-03 (4.00) | 0e+00 (1.00) / 3e-03 (1.00) |" in text
    assert re.search(r"^[^|]*\b4\.00\b", text, re.MULTILINE)


def test_new_sizes_differ_between_tasks():
    ratios_by_task = first_over_third(Case("", "LSTM", 2, 1, 1, 2, (4, 4), 3))
    assert list(ratios_by_task) == ["inference", "training"]
    assert all(set(of) == {"ours", "two convolutions"} for of in ratios_by_task.values())
    assert all(len(ratios) == 5 and min(ratios) > 0 for of in ratios_by_task.values() for ratios in of.values())
    cases = [{"title": "a", "first_over_third": {"training": {"ours": [1, 2, 9]}}}]
    assert "| a | 2.00 (9.00) |" in render_table(cases)


@pytest.mark.slow
def test_errors_are_measured_of_every_kind_of_layer_in_every_precision(monkeypatch):
    monkeypatch.setattr(precision, "SCALES", (1.0, 1e-6))
    monkeypatch.setattr(precision, "SEEDS", 1)
    rows = precision.errors()
    assert {row["layer"].partition(",")[0] for row in rows} == {
        "Conv2dRNN",
        "Conv2dLSTM",
        "Conv2dPeepholeLSTM",
        "Conv2dGRU",
    }
    assert {(row["dtype"], row["scale"]) for row in rows} == {
        (dtype, scale) for dtype in ("float32", "bfloat16", "float16") for scale in (1.0, 1e-6)
    }
    for row in rows:  # as large as rounding makes them, which a reference of the same precision would not show
        low, high = {"float32": (1e-9, 1e-5), "bfloat16": (1e-5, 0.1), "float16": (1e-5, 0.1)}[row["dtype"]]
        if (row["dtype"], row["scale"]) != ("float16", 1e-6):  # there small products are zero
            assert all(low < error < high for error in (*row["output"], *row["gradient"])), row


def test_short_runs_are_called_in_a_row_and_as_often_as_each_other():
    now, calls = [0.0], {"short": 0, "long": 0}

    def taking(name, seconds):
        def run():
            calls[name] += 1
            now[0] += seconds

        return run

    times = interleaved({"short": taking("short", 0.001), "long": taking("long", 0.004)}, 3, lambda: now[0])
    assert {name: len(of) for name, of in times.items()} == {"short": 3, "long": 3}
    assert times["long"] == pytest.approx([0.004] * 3)
    assert calls == {"short": 2 + 3 * 10, "long": 2 + 3 * 10}


small_cases = pytest.mark.parametrize(
    "case",
    [
        case._replace(steps=4, batch=3, size=(6,) * len(case.size), lengths=(2, 4) if case.lengths else None)
        for case in [*CASES, LONG]
    ],
    ids=lambda case: case.name,
)


@small_cases
def test_the_implementations_compute_the_same(case):
    """Compares the implementations on a smaller map and with fewer steps."""
    layer, x = case.layer(), case.input()
    want = Output(layer)(x)
    packed = isinstance(x, PackedSequence)
    assert torch.equal(want, layer(x)[0].data if packed else layer(x)[0])
    name, other_checkout = load_peer("v0.1", ROOT)
    assert name == "ours of v0.1"
    for build in (autograd_of_the_step, other_checkout):
        implementation = build(case)
        implementation.layer.load_state_dict(layer.state_dict())
        assert type(implementation.layer) is not type(layer)
        torch.testing.assert_close(implementation(x), want, rtol=0, atol=1e-5)
    torch.testing.assert_close(Plain(layer)(x), want, rtol=0, atol=1e-5)
    if case.kind != "GRU":
        torch.testing.assert_close(OneConvolution(layer)(x), want, rtol=0, atol=1e-5)


@small_cases
def test_only_the_written_derivative_is_taken_away(case):
    assert type(case.layer()).in_place is not None
    implementation = autograd_of_the_step(case)
    assert type(implementation.layer).in_place is None
    before = {name: p.shape for name, p in case.layer().named_parameters()}
    assert {name: p.shape for name, p in implementation.layer.named_parameters()} == before


@small_cases
def test_the_floor_runs_the_convolutions_of_every_step(case, monkeypatch):
    monkeypatch.setattr(
        "benchmarks.floor.prepare_conv", lambda weight, *_: lambda x: convolved.append((len(x), weight))
    )
    convolved: list = []
    floor(case)[0]()
    weights = sum(n * weight.numel() for n, weight in convolved)
    per_map = sum(p.numel() for name, p in case.layer().named_parameters() if "weight" in name)
    assert weights == sum(case.sizes()) * per_map


def test_another_checkout_has_a_separate_column():
    done = run("--case", "tiny", "--rounds", 1, "--implementation", "ours of v1", "--peer", f"v1={ROOT}")
    assert done.exit_code == 0, done.output
    assert "| case | ours, ms | ours of v1 | floor |" in done.output
    assert "* ours of v1: " in done.output

import json

import pytest
import torch
from click.testing import CliRunner
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo.bench.cases import CASES, LONG
from convrnn_zoo.bench.command import bench
from convrnn_zoo.bench.measure import interleaved
from convrnn_zoo.bench.plain import OneConvolution, Plain
from convrnn_zoo.bench.report import table
from convrnn_zoo.bench.shares import KINDS, kind

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


def test_a_run_leaves_its_numbers_its_table_and_its_chart(tmp_path):
    peer = tmp_path / "peer"
    peer.mkdir()
    (peer / "convrnn_peer.py").write_text(PEER)
    done = run(
        "--case", "tiny", "--rounds", 3, "--scheme", "twice", "--peer", f"twice={peer}", "--out", tmp_path / "out"
    )
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "bench.json").read_text())
    (case,) = result["cases"]
    for task in ("inference", "training"):
        assert {name: len(times) for name, times in case[task].items()} == {"ours": 3, "twice": 3, "floor": 3}
    assert (tmp_path / "out" / "bench.md").read_text().strip() == table(result)
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"bench.json", "bench.md", "bench.png"}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by torch's compiler itself, at its import
def test_a_profile_tells_what_the_time_is_spent_on(tmp_path):
    done = run("--case", "tiny", "--rounds", 1, "--scheme", "ours", "--profile", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    (case,) = json.loads((tmp_path / "bench.json").read_text())["cases"]
    for task in ("inference", "training"):
        for scheme in ("ours", "ours fused"):
            parts = dict(zip(KINDS, case["shares"][task][scheme], strict=True))
            assert sum(parts.values()) == pytest.approx(1, abs=0.01)
            assert min(parts.values()) > 0
            assert max(parts, key=parts.get) in ("convolutions", "rest")
    assert "% of it: convolutions / gates / copies / rest" in done.output


def test_every_operation_of_a_run_has_its_kind():
    kinds = {
        "mkldnn::_convolution_pointwise": "convolutions",
        "aten::convolution_backward": "convolutions",
        "aten::mkldnn_reorder_conv2d_weight": "convolutions",
        "aten::sigmoid_": "gates",
        "aten::tanh_backward": "gates",
        "aten::copy_": "copies",
        "aten::cat": "copies",
        "aten::as_strided": "rest",
        "JoinedScanBackward": "rest",
    }
    assert {name: kind(name) for name in kinds} == kinds


def test_peaks_are_measured_for_every_scheme_that_can_do_the_case(tmp_path):
    done = CliRunner().invoke(
        bench, ["--case", "gru", "--rounds", "1", "--scheme", "one convolution", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    (case,) = json.loads((tmp_path / "bench.json").read_text())["cases"]
    assert set(case["peak_bytes"]) == {"ours"}  # a GRU's candidate is not one convolution over both
    assert case["peak_bytes"]["ours"] > 1 << 20


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--scheme", "theirs"], "expected some of ours, "),
        (["--peer", "theirs"], "expected NAME=DIR"),
        (["--peer", "theirs=nowhere"], "convrnn_peer.py"),
        (["--case", "huge"], "'huge'"),
    ],
)
def test_what_it_does_not_know_is_named(args, words):
    done = run(*args)
    assert done.exit_code == 2
    assert words in done.output


def test_the_table_compares_rounds_and_knows_the_fastest_peer():
    times = {"ours": [1.0, 2.0, 4.0], "a": [2.0, 4.0, 4.0], "b": [1.5, 3.0, 60.0], "floor": [0.5, 1.0, 2.0]}
    machine = {"processor": "this one", "threads": 2, "torch": "t", "convrnn_zoo": "z", "clock": "wall"}
    other = {name: [8 * t for t in ts] if name == "a" else ts for name, ts in times.items()}
    cases = [{"name": n, "title": n, "training": ts} for n, ts in (("one", times), ("two", other))]
    lines = table({"machine": machine, "rounds": 3, "cases": cases}, ["training"]).splitlines()
    assert lines[2] == "| case | ours, ms | fastest peer | a | b | floor |"
    assert lines[4] == "| one | 2000.0 | 1.50 | 2.00 | 1.50 | 0.50 |"
    assert lines[5] == "| two | 2000.0 | 1.50 | 16.00 | 1.50 | 0.50 |"
    assert lines[6] == "| geometric mean |  | 1.50 | 5.66 | 1.50 | 0.50 |"


def test_the_fused_layers_are_set_against_peers_with_and_without_a_compiler():
    times = {"ours": [2.0], "ours fused": [1.0], "a": [3.0], "b": [4.0], "a compiled": [1.5], "floor": [0.5]}
    machine = {"processor": "this one", "threads": 2, "torch": "t", "convrnn_zoo": "z", "clock": "wall"}
    other = times | {"a": [12.0], "b": [12.0]}
    cases = [{"name": n, "title": n, "training": ts} for n, ts in (("one", times), ("two", other))]
    text = table({"machine": machine, "rounds": 1, "cases": cases}, ["training"])
    assert "| one | 2000.0 | 1.50 | 0.75 | 0.50 |" in text
    assert "fastest peer over ours fused: 3.00 to 12.00, geometric mean 6.00." in text
    assert "fastest compiled peer over ours fused: 1.50 to 1.50, geometric mean 1.50." in text


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


@pytest.mark.parametrize("case", [*CASES, LONG], ids=lambda case: case.name)
def test_the_schemes_compute_the_same(case):
    """On a smaller map and of fewer steps: what is timed side by side is the same function."""
    case = case._replace(steps=4, batch=3, size=(6,) * len(case.size), lengths=(2, 4) if case.lengths else None)
    torch.manual_seed(0)
    layer, x = case.layer(), case.input()
    want = layer(x)[0]
    want = want.data if isinstance(want, PackedSequence) else want
    torch.testing.assert_close(Plain(layer)(x), want, rtol=0, atol=1e-5)
    if case.kind != "GRU":
        torch.testing.assert_close(OneConvolution(layer)(x), want, rtol=0, atol=1e-5)

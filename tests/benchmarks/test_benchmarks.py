import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.nn.utils.rnn import PackedSequence

from benchmarks.__main__ import bench
from benchmarks.cases import CASES, LONG
from benchmarks.floor import floor
from benchmarks.peers import Output, autograd_of_the_step, load_peer
from benchmarks.plain import OneConvolution, Plain
from benchmarks.report import table

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


@pytest.mark.slow
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


def test_options_that_a_mode_does_not_use_are_rejected(tmp_path):
    done = run("--scaling", "--case", "tiny", "--peer", f"a={tmp_path}", "--profile")
    assert done.exit_code == 2
    assert all(option in done.output for option in ("--scaling", "--case", "--profile", "--peer"))


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
def test_the_floor_runs_the_convolutions_of_every_step(case, monkeypatch):
    monkeypatch.setattr(
        "benchmarks.floor.prepare_conv", lambda weight, *_: (lambda x: convolved.append((len(x), weight)), ())
    )
    convolved: list = []
    floor(case)[0]()
    weights = sum(n * weight.numel() for n, weight in convolved)
    per_map = sum(p.numel() for name, p in case.layer().named_parameters() if "weight" in name)
    assert weights == sum(case.sizes()) * per_map

"""Two processes that train in a loop of their own reach the weights of one, replicated (DDP) and sharded (FSDP2)."""

import subprocess
import sys

import pytest
import torch

import convrnn_zoo
from tests.helpers.device import ON_HOST
from tests.helpers.docs.pages import ROOT, blocks
from tests.helpers.train import parallel
from tests.helpers.train.runs import LAUNCHERS, free_port, run_together


@pytest.fixture(scope="module")
def alone():
    """Weights after training in one process, by model."""
    weights = {}
    for name in parallel.MODELS:
        model, x = parallel.build(name)
        weights[name] = parallel.train(name, model, model, x)
    return weights


@pytest.mark.slow
@pytest.mark.needs("two_devices")
@pytest.mark.parametrize("wrapper", ["ddp", pytest.param("fsdp", marks=pytest.mark.needs("cpu_sharding"))])
def test_two_processes_reach_the_weights_of_one(wrapper, alone, tmp_path):
    files = [tmp_path / f"{rank}.pt" for rank in range(2)]
    run_together(*(["-m", "tests.helpers.train.parallel", wrapper, file] for file in files))
    atol = 1e-6 if ON_HOST else 1e-4
    for weights in map(torch.load, files):
        assert weights.keys() == alone.keys()
        for name, expected in alone.items():
            start = parallel.build(name)[0].state_dict()
            assert any((expected[k] - start[k]).abs().max() > 1e-3 for k in start), name  # it was trained
            torch.testing.assert_close(weights[name], expected, atol=atol, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "launcher"),
    [
        ("ddp", "torch.distributed.run"),
        pytest.param("fsdp", "accelerate.commands.launch", marks=pytest.mark.needs("cpu_sharding")),
    ],
)
def test_the_program_of_the_page_trains_in_two_processes(way, launcher, tmp_path):
    page = ROOT / "docs" / "how-to" / "distributed.md"
    code = next(b.code for b in blocks(page) if b.code.startswith("# parallel.py"))
    (tmp_path / "parallel.py").write_text(code, encoding="utf-8")
    options = [option.format(port=free_port()) for option in LAUNCHERS[launcher]]
    command = [sys.executable, "-m", launcher, *options, "parallel.py", way]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert convrnn_zoo.from_pretrained(tmp_path / f"trained-{way}").num_features


def test_predrnn_v2_needs_the_search_for_unused_parameters():
    model, x = parallel.build("predrnn_v2")
    parallel.forecast(model, x, slice(None)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == ["adapter.weight"]

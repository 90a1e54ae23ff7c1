"""Two processes that train in a loop of their own reach the weights of one, replicated (DDP) and sharded (FSDP2)."""

import subprocess
import sys

import pytest

import convrnn_zoo
from tests.helpers.docs.pages import ROOT, blocks
from tests.helpers.train import parallel
from tests.helpers.train.runs import LAUNCHERS, free_port


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

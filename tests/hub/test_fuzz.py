"""Mutated files of weights give a clear error or load exactly; none crashes, hangs or takes memory."""

import collections
import time
from pathlib import Path

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import ConvRNNHubError, from_pretrained, load_weights
from tests.helpers.hub.examples import files, make
from tests.helpers.hub.mutations import MUTATIONS, mutated, split

LIMIT = 2**20


def values(content: bytes) -> dict[str, torch.Tensor]:
    """An independent reading of a file of float32 tensors."""
    header, payload = split(content)
    header.pop("__metadata__", None)
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
    return {
        key: torch.frombuffer(bytearray(payload[slice(*e["data_offsets"])]), dtype=kinds[e["dtype"]]).reshape(
            e["shape"]
        )
        for key, e in header.items()
    }


def run(directory: Path, count: int, seed: int) -> collections.Counter:
    """Loads so many mutated files; the outcomes by kind."""
    content, path = (directory / "model.safetensors").read_bytes(), directory / "mutated.safetensors"
    model, outcomes = make(), collections.Counter()
    for name, changed in mutated(content, count, seed):
        path.write_bytes(changed)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        start = time.monotonic()
        try:
            with convrnn_zoo.size_limit(LIMIT):
                load_weights(model, path)
        except ConvRNNHubError as e:
            message, expected, outcome = str(e), before, "rejected"
        else:
            message, expected, outcome = "", values(changed), "loaded"
        assert time.monotonic() - start < 5, f"{name} took too long"
        assert outcome == "loaded" or "mutated.safetensors" in message, message
        assert len(message) < 20_000, "not for reading"
        assert all(v.isfinite().all() for v in expected.values())
        state = model.state_dict()
        assert state.keys() == expected.keys(), name
        assert all(torch.equal(v, expected[k].to(v.dtype)) for k, v in state.items()), name
        outcomes[name, outcome] += 1
    return outcomes


CHILD = """
import resource, sys
from pathlib import Path
from tests.hub.test_fuzz import run
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcomes = run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(sum(outcomes.values()), len(outcomes), grown)
"""


@pytest.mark.needs("linux")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(11))
def test_mutated_weights_are_rejected_or_load_exactly(seed, tmp_path, python):
    """Runs in a child process, so that a crash or a leak does not affect the tests."""
    files(make(), tmp_path)
    root = str(Path(__file__).parents[2])
    child = f"import sys; sys.path.insert(0, {root!r})\n{CHILD}"
    count, kinds, grown = map(int, python(child, tmp_path, 650, seed).stdout.split())
    assert count == 650
    assert kinds > len(MUTATIONS)  # some of them are rejected and loaded
    assert grown < 100 * 1024, f"grew by {grown} KiB"


def test_with_a_checksum_every_change_is_rejected(tmp_path):
    """Weights with a checksum are not loaded if a bit differs."""
    files(make(), tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    rejected = 0
    for _, changed in mutated(content, 130, seed=11):
        path.write_bytes(changed)
        if changed != content:
            with pytest.raises(ConvRNNHubError, match=r"model\.safetensors"):
                from_pretrained(tmp_path)
            rejected += 1
    assert rejected > 120
    path.write_bytes(content)
    from_pretrained(tmp_path)


def test_a_changed_config_is_rejected_or_means_the_same(tmp_path):
    """Bytes of config.json flipped: an error of this package, or the model as it was."""
    files(make(), tmp_path)
    path, expected = tmp_path / "config.json", make().state_dict()
    content = path.read_bytes()
    for i in range(0, len(content), 7):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        try:
            state = from_pretrained(tmp_path).state_dict()
        except ConvRNNHubError:
            continue
        assert all(torch.equal(v, state[k]) for k, v in expected.items())

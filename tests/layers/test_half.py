"""The dtype of convolutions on a CPU is decided by a measurement, once per process, or by an environment variable."""

import threading
import time

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from convrnn_zoo.layers import Conv2dLSTM, _half

BF16, F16 = torch.bfloat16, torch.float16


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_half.VARIABLE, raising=False)
    monkeypatch.setattr(_half, "_is_fast", {})


def set_times(monkeypatch: pytest.MonkeyPatch, seconds: dict[torch.dtype, float]) -> list[torch.dtype]:
    """Replaces the clock of the measurement, and returns the list of dtypes that were measured in half precision."""
    measured = []

    def time_convolutions(*dtypes: torch.dtype) -> list[float]:
        measured.append(dtypes[0])
        time.sleep(0.05)  # long enough for every thread to arrive
        return [seconds[dtype] for dtype in dtypes]

    monkeypatch.setattr(_half, "time_convolutions", time_convolutions)
    return measured


def convolves_in_half(dtype: torch.dtype) -> bool:
    """Whether a layer under autocast computes something else than without it."""
    rnn, x = Conv2dLSTM(2, 3, 3), torch.randn(2, 1, 2, 4, 4)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        y = rnn(x)[0]
    return not torch.equal(y, rnn(x)[0])


def test_the_faster_dtype_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = set_times(monkeypatch, {torch.float32: 2.0, BF16: 1.0, F16: 3.0})
    for _ in range(3):
        assert convolves_in_half(BF16)
        assert not convolves_in_half(F16)
    assert measured == [BF16, F16]


def test_many_threads_measure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = set_times(monkeypatch, {torch.float32: 2.0, BF16: 1.0})
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(_half.half_is_fast(BF16))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    assert measured == [BF16]


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False)])
def test_the_environment_decides_without_measuring(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = set_times(monkeypatch, {torch.float32: 2.0, BF16: 1.0, F16: 3.0})
    monkeypatch.setenv(_half.VARIABLE, value)
    assert [convolves_in_half(BF16), convolves_in_half(F16)] == [expected] * 2
    assert measured == []


def test_rejects_other_values_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_half.VARIABLE, "fast")
    with pytest.raises(ValueError, match=rf"{_half.VARIABLE}.*'fast'"):
        _half.half_is_fast(BF16)


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = set_times(monkeypatch, {torch.float32: 2.0, BF16: 1.0})
    monkeypatch.setenv(_half.VARIABLE, "")
    assert _half.half_is_fast(BF16)
    assert measured == [BF16]


def test_a_dtype_that_torch_cannot_convolve_is_slow() -> None:
    assert _half.time_convolutions(torch.bool, torch.float32)[0] == float("inf")


def test_measuring_takes_milliseconds_and_changes_no_global_state() -> None:
    before = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    start = time.thread_time()
    with torch.inference_mode(), torch.autocast("cpu", F16), FakeTensorMode(), torch.device("meta"):
        result = _half.half_is_fast(BF16)
        assert torch.ones(1).is_meta
    assert time.thread_time() - start < 1
    assert result == _half.half_is_fast(BF16)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == before[1:]


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap], ids=lambda f: f.__name__)
def test_measures_inside_transforms(transform: object) -> None:
    def decide(x: torch.Tensor) -> torch.Tensor:
        _half.half_is_fast(BF16)
        return x * 2

    out = transform(decide)(torch.tensor([1.0]).squeeze(0) if transform is torch.func.grad else torch.ones(2))
    assert out.isfinite().all()
    times = _half.time_convolutions(BF16, torch.float32)
    assert all(0 < seconds < 1 for seconds in times)

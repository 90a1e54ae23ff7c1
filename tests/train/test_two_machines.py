"""Two processes without a shared disk: the main one decides, and the other one follows."""

import json

import pytest
import torch

import convrnn_zoo
from tests.helpers.train.runs import run_together
from tests.train.test_classifier_scores import check_rows, noise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """The directories of two processes that have trained together."""
    directories = [tmp_path_factory.mktemp("machine") for _ in range(2)]
    run_together(*(["-m", "tests.helpers.train.two_machines", directory] for directory in directories))
    return directories


@pytest.fixture(scope="module")
def seen(directories):
    """What each of two processes saw."""
    return [json.loads((directory / "seen.json").read_text()) for directory in directories]


@pytest.mark.parametrize("kind", ["forecaster", "classifier"])
def test_a_run_resumes_to_the_same_weights_though_one_process_has_no_checkpoint(kind, seen):
    main, other = seen
    assert main[f"resumed_{kind}"] == main[kind] == other[kind] == other[f"resumed_{kind}"]


def test_only_the_main_process_writes(seen):
    main, other = ({f for f in s["files"] if not f.startswith("resumed/")} for s in seen)
    assert {"whole/last.ckpt", "whole/seed0.ckpt", "whole/training.csv"} <= main
    assert not other


def test_processes_draw_noise_of_their_own_also_in_a_resumed_run(seen):
    main, other = (s["noise"] for s in seen)
    assert len(main) >= 6 * 2 * 2  # updates, parts and members, and the validations
    assert not set(main) & set(other)
    for s in seen:
        count, resumed = s["updates_before"], s["resumed_noise"]
        assert resumed == s["noise"]
        assert 0 < count < len(resumed)


def test_gradients_are_reduced_once_for_each_update(seen):
    for s in seen:
        assert s["reduced"] == [False, True] * 6  # of the last of two parts


def test_processes_stop_early_and_keep_the_same_weights(seen):
    main, other = seen
    assert main["epochs"] == other["epochs"]
    assert main["best"] == other["best"]


def test_an_error_of_the_main_process_ends_all(seen):
    for s in seen:
        assert "damaged" in s["damaged_error"]
        assert "last.ckpt" in s["damaged_error"]


def test_processes_with_other_data_are_named_with_what_differs(seen):
    for s in seen:
        assert "process 1" in s["data_error"]
        assert "checksum" in s["data_error"]


def test_a_run_goes_on_with_another_number_of_processes(seen):
    main, other = seen
    assert main["losses"] == other["losses"]
    assert len(main["losses"]) == 3
    assert main["prolonged"] == other["prolonged"]


def test_scores_are_means_over_the_samples_of_both_processes(directories):
    """Of the last batch of five sequences, one process has three and the other two."""
    main, other = (directory / "scores" for directory in directories)
    check_rows(main / "training_seed0.csv", convrnn_zoo.from_pretrained(main), noise(), torch.tensor([1.0, 9.0]))
    assert not other.exists()


def test_parameters_of_a_loss_that_is_not_used_do_not_stop_the_processes(seen):
    main, other = seen
    assert main["adapted"] == other["adapted"]

"""The claims of the JapaneseVowels weights, recomputed from the file and the data."""

import pytest

import convrnn_zoo
from convrnn_zoo.data.sequences import load_japanese_vowels
from convrnn_zoo.train.classify import accuracy

RECORD = convrnn_zoo.WEIGHTS["convlstm1d_bi_1layer.japanese_vowels"]


@pytest.fixture(scope="module")
def test_split():
    return load_japanese_vowels(None, "test")


def test_the_split_is_the_official_one(test_split):
    assert len(test_split.labels) == 370
    assert len(load_japanese_vowels(None, "train").labels) == 270
    assert {len(x) for x in test_split.sequences} == set(range(7, 30)) & {len(x) for x in test_split.sequences}
    assert (min(map(len, test_split.sequences)), max(map(len, test_split.sequences))) == (7, 29)


def test_accuracy_is_what_the_record_states(test_split):
    model = convrnn_zoo.create_model(RECORD.name, pretrained=True)
    told, withheld, *_ = RECORD.metrics
    assert round(100 * accuracy(model, test_split), 2) == told.value
    assert round(100 * accuracy(model, test_split, read_padding=True), 2) == withheld.value


def test_the_mean_over_five_seeds_is_98_and_padding_costs():
    told, withheld, _, blind_alone = RECORD.metrics
    assert {m.runs for m in RECORD.metrics} == {5}
    assert told.mean >= 98.0
    assert withheld.mean < blind_alone.mean < told.mean


def test_told_the_lengths_the_answer_does_not_depend_on_the_batch(test_split):
    model = convrnn_zoo.create_model(RECORD.name, pretrained=True)
    assert accuracy(model, test_split, batch_size=1) == accuracy(model, test_split)

"""The metrics of the JapaneseVowels weights, recomputed from the weights and the data."""

import pytest

import convrnn_zoo
from convrnn_zoo import WEIGHTS
from convrnn_zoo.data.datasets.speech import JapaneseVowels
from convrnn_zoo.train.classifier import accuracy
from references.classifiers import WithoutLengths

RECORDS = [w for w in WEIGHTS.values() if w.dataset == "JapaneseVowels"]


@pytest.fixture(scope="module")
def test_split():
    pytest.importorskip("aeon", reason="the extra data")
    return JapaneseVowels().load(None, "test")


def test_the_split_is_the_official_one(test_split):
    assert len(test_split.labels) == 370
    assert len(JapaneseVowels().load(None, "train").labels) == 270
    assert (min(map(len, test_split.sequences)), max(map(len, test_split.sequences))) == (7, 29)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_accuracy_matches_the_metadata(test_split, record):
    model = convrnn_zoo.create_model(record.name, pretrained=True)
    with_lengths, withheld, *_ = record.metrics
    assert round(100 * accuracy(model, test_split), 2) == with_lengths.value
    assert round(100 * accuracy(model, WithoutLengths(*test_split), len(test_split.labels)), 2) == withheld.value
    # with lengths the prediction does not depend on the batch
    assert accuracy(model, test_split, batch_size=37) == accuracy(model, test_split)

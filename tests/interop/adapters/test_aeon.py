"""A classifier of aeon for series of unequal length."""

import numpy as np
import pytest

pytest.importorskip("aeon.classification.base", reason="pip install 'convrnn-zoo[data]'")

from convrnn_zoo.interop.adapters.aeon import ConvRNNClassifier


@pytest.fixture(scope="module")
def series():
    """Rising and falling sines of 2 channels and 6 to 30 steps."""
    rng = np.random.default_rng(0)
    xs, y = [], []
    for i in range(40):
        t = np.linspace(0, 1, rng.integers(6, 30))
        xs.append(np.stack([(1 if i % 2 else -1) * t, np.sin(9 * t)]) * 50 + rng.normal(0, 4, (2, len(t))))
        y.append("up" if i % 2 else "down")
    return xs, np.array(y)


def fit(xs, y, **options):
    return ConvRNNClassifier("convgru1d_1layer", hidden_channels=8, epochs=15, random_state=0, **options).fit(xs, y)


def test_series_of_unequal_length_are_classified(series):
    xs, y = series
    classifier = fit(xs[:30], y[:30])
    assert classifier.score(xs[30:], y[30:]) == 1.0
    probabilities = classifier.predict_proba(xs[30:])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (classifier.classes_[probabilities.argmax(1)] == classifier.predict(xs[30:])).all()
    alone = np.concatenate([classifier.predict_proba([x]) for x in xs[30:]])
    np.testing.assert_allclose(alone, probabilities, atol=1e-5)  # padding has no effect


def test_arrays_of_equal_length_and_seeds(series):
    xs, y = np.stack([x[:, :6] for x in series[0]]), series[1]
    first, second = (fit(xs, y).predict_proba(xs) for _ in "12")
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["convgru2d_1layer", "convlstm3d_bi_1layer"])
def test_a_model_of_maps_is_an_error(series, name):
    with pytest.raises(ValueError, match=rf"model must be 1-d, such as 'convgru1d_bi_2layer'; '{name}' has ndim="):
        ConvRNNClassifier(name, hidden_channels=8, epochs=1).fit(series[0], series[1])


def test_checks_of_aeon():
    checks = pytest.importorskip("aeon.testing.estimator_checking", reason="pip install 'convrnn-zoo[data]'")
    checks.check_estimator(
        ConvRNNClassifier, checks_to_run=["check_constructor", "check_get_params", "check_set_params", "check_clone"]
    )  # fmt: skip

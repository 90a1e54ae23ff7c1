"""Scores equal those of properscoring, scikit-learn, scipy and torchmetrics, also with unknown pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from convrnn_zoo.verify.confusion import count_confusions
from convrnn_zoo.verify.losses import crps, find_loss, ssim
from convrnn_zoo.verify.metrics import Occurrences, ProbabilityScores, ensemble_scores, frame_scores

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds, shares = st.integers(0, 2**31), st.sampled_from([0.0, 0.1, 0.6])
CLOSE = {"rel": 1e-6, "abs": 1e-9, "nan_ok": True}


def sample(seed, *shape, unknown=0.0):
    """Values of an exponential distribution, of which a share is NaN."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.empty(shape, dtype=torch.double).exponential_(generator=generator)
    return values.masked_fill(torch.rand(shape, generator=generator) < unknown, torch.nan)


@given(seeds, st.integers(1, 9), shares, shares, st.booleans(), st.sampled_from([0.5, 1.0, 3.0]))
@PROPERTY
def test_scores_of_ensembles_are_those_of_properscoring(seed, count, unknown, failed, are_quantiles, threshold):
    """Its CRPS and Brier score are those of quantiles; those of random members are fair, as Ferro (2014) derives."""
    import properscoring  # which imports numba for seconds

    truth = sample(seed, 3, 2, 1, 6, 5, unknown=unknown)
    members = sample(seed + 1, count, *truth.shape, unknown=failed / count)
    pixels = np.moveaxis(members.numpy(), 0, -1)
    known = np.isfinite(truth.numpy()) & np.isfinite(pixels).all(-1)
    observed = np.where(known, truth.numpy(), np.nan)
    score = properscoring.crps_ensemble(observed, pixels)
    brier = np.where(known, properscoring.threshold_brier_score(observed, pixels, threshold), np.nan)
    if not are_quantiles and count > 1:
        distance = abs(pixels - observed[..., None]).mean(-1)
        score = distance - (distance - score) * count / (count - 1)
        share = (pixels > threshold).mean(-1)
        brier = np.where(known, brier - share * (1 - share) / (count - 1), np.nan)
    by_frame = [np.nanmean(score[:, t], (1, 2, 3)) for t in range(2)]
    ours = ProbabilityScores((threshold,), 2, are_quantiles)
    ours.add(members, truth)
    found = ours.scores("")
    assert found["CRPS"] == pytest.approx([v.mean() for v in by_frame], **CLOSE)
    assert found[f"Brier {threshold:g}"] == pytest.approx([np.nanmean(brier[:, t]) for t in range(2)], **CLOSE)
    together = ensemble_scores(members[:, 0, :, 0], truth[0, :, 0], are_quantiles)
    assert together["CRPS"] == pytest.approx([v[0] for v in by_frame], **CLOSE)
    mean, variance = pixels[0, :, 0].mean(-1), pixels[0, :, 0].var(-1, ddof=0 if are_quantiles or count < 2 else 1)
    ratio = 1 if are_quantiles or count < 2 else (count + 1) / count
    hidden = np.where(known[0, :, 0], variance * ratio, np.nan)
    assert together["spread"] == pytest.approx(np.nanmean(hidden, (1, 2)) ** 0.5, **CLOSE)
    error = np.nanmean((mean - observed[0, :, 0]) ** 2, (1, 2)) ** 0.5
    assert together["RMSE of the mean"] == pytest.approx(error, **CLOSE)
    if not are_quantiles and not unknown and not failed:
        assert float(crps(members, truth, truth)) == pytest.approx(score.mean())


@given(seeds, shares, shares, st.sampled_from([0.2, 1.0, 2.0, 9.0]), st.integers(1, 3))
@PROPERTY
def test_contingency_and_reliability_are_those_of_scikit_learn(seed, unknown, failed, threshold, batches):
    from sklearn import metrics as sklearn
    from sklearn.calibration import calibration_curve

    truth = sample(seed, 4, 2, 1, 6, 5, unknown=unknown)
    members = (truth.nan_to_num(1) + sample(seed + 1, 7, *truth.shape, unknown=failed / 7) - 1).abs()
    occurrences, probabilities = Occurrences(threshold, 2), ProbabilityScores((threshold,), 2)
    for part, of_truth in zip(members.split(batches, 1), truth.split(batches), strict=True):
        occurrences.add(part[0], of_truth)
        probabilities.add(part, of_truth)
    for t in range(2):
        known = truth[:, t].isfinite() & members[0, :, t].isfinite()
        observed, predicted = ((x[known] >= threshold).numpy() for x in (truth[:, t], members[0, :, t]))
        options = {"zero_division": np.nan}
        found = {name: values[t] for name, values in occurrences.scores().items()}
        assert found["POD"] == pytest.approx(sklearn.recall_score(observed, predicted, **options), **CLOSE)
        assert found["FAR"] == pytest.approx(1 - sklearn.precision_score(observed, predicted, **options), **CLOSE)
        if observed.any() or predicted.any():
            assert found["CSI"] == pytest.approx(sklearn.jaccard_score(observed, predicted), **CLOSE)
        else:
            assert np.isnan(found["CSI"])
    known = truth.isfinite() & members.isfinite().all(0)
    observed, share = (truth[known] >= threshold).numpy(), (members >= threshold).double().mean(0)[known].numpy()
    frequency, forecast = calibration_curve(observed, share, n_bins=10)  # sevenths: none is the edge of a bin
    bins = probabilities.reliability("")[f"{threshold:g}"]
    filled = np.array(bins["count"]) > 0
    assert np.array(bins["observed"])[filled] == pytest.approx(frequency)
    assert np.array(bins["forecast"])[filled] == pytest.approx(forecast)
    assert sum(bins["count"]) == known.sum()


@given(seeds, st.integers(2, 9), st.integers(1, 60))
@PROPERTY
def test_confusions_are_those_of_scikit_learn(seed, classes, count):
    from sklearn import metrics as sklearn

    labels, predictions = torch.randint(classes, (2, count), generator=torch.Generator().manual_seed(seed))
    names = tuple(map(str, range(classes)))
    found = count_confusions(torch.nn.functional.one_hot(predictions, classes).float(), labels, names)
    assert found.counts.tolist() == sklearn.confusion_matrix(labels, predictions, labels=range(classes)).tolist()
    assert found.accuracy == pytest.approx(sklearn.accuracy_score(labels, predictions))
    recall = sklearn.recall_score(labels, predictions, labels=range(classes), average=None, zero_division=np.nan)
    assert list(found.recall.values()) == pytest.approx(recall, nan_ok=True)
    assert [v is None for v in found.to_json()["recall"].values()] == np.isnan(recall).tolist()


@given(seeds, shares, st.sampled_from([1, 3, 9]), st.booleans(), st.sampled_from([0.2, 1.0, 3.0]))
@PROPERTY
def test_the_fractions_skill_score_is_that_of_scipys_filters(seed, unknown, window, counts_outside, threshold):
    forecast, truth = sample(seed, 2, 3, 2, 1, 12, 10)
    truth = truth.where(sample(seed + 1, *truth.shape, unknown=unknown).isfinite(), torch.nan)
    ours = Occurrences(threshold, 2, window, counts_outside=counts_outside)
    ours.add(forecast, truth)

    def fractions(values):
        size = (1, 1, 1, window, window)
        inside = ndimage.uniform_filter(np.ones_like(values), size, mode="constant")
        return ndimage.uniform_filter(values, size, mode="constant") / (1 if counts_outside else inside)

    occurs = [((x >= threshold) & truth.isfinite()).double().numpy() for x in (forecast, truth)]
    f, o = map(fractions, occurs)
    axes = (0, 2, 3, 4)
    with np.errstate(invalid="ignore"):
        expected = 1 - ((f - o) ** 2).sum(axes) / (f**2 + o**2).sum(axes)
    assert ours.scores()["FSS"] == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True)


@given(seeds, shares, st.sampled_from([(0.0, 1.0), (-3.0, 7.0), (260.0, 300.0)]))
@PROPERTY
def test_errors_and_similarity_are_those_of_scikit_learn_torchmetrics_and_scipy(seed, unknown, bounds):
    from sklearn import metrics as sklearn
    from torchmetrics.functional.image import structural_similarity_index_measure

    low, high = bounds
    forecast, truth = (low + (high - low) * sample(seed, 2, 2, 3, 1, 14, 11) / 4).unbind()
    hidden = sample(seed + 1, *truth.shape, unknown=unknown / 40).isnan()
    known, truth = ~hidden.numpy(), truth.masked_fill(hidden, torch.nan)
    scores = frame_scores(forecast, truth, bounds, ["bias"])
    clipped = [x.nan_to_num(low).clamp(low, high) - low for x in (forecast, truth)]
    _, image = structural_similarity_index_measure(
        *(torch.where(hidden, 0, x).flatten(0, 1) for x in clipped),
        gaussian_kernel=False,
        kernel_size=7,
        data_range=high - low,
        return_full_image=True,
    )
    footprint = np.ones((1, 1, 1, 7, 7), bool)
    complete = ndimage.minimum_filter(known, footprint=footprint, mode="mirror")
    for n, t in np.ndindex(2, 3):
        observed, predicted = (x[n, t][known[n, t]] for x in (truth.numpy(), forecast.numpy()))
        error = sklearn.mean_squared_error(observed, predicted)
        assert scores["MSE"][n, t] == pytest.approx(error)
        assert scores["MAE"][n, t] == pytest.approx(sklearn.mean_absolute_error(observed, predicted))
        assert scores["bias"][n, t] == pytest.approx((predicted - observed).mean(), abs=1e-9)
        observed, predicted = (x[n, t][known[n, t]] for x in map(np.asarray, clipped[::-1]))
        noise = 10 * np.log10((high - low) ** 2 / sklearn.mean_squared_error(observed, predicted))
        assert scores["PSNR"][n, t] == pytest.approx(noise, rel=1e-5)
        windows = image[3 * n + t].numpy()[complete[n, t]]
        assert scores["SSIM"][n, t] == pytest.approx(windows.mean() if len(windows) else np.nan, nan_ok=True, rel=1e-5)
    if not unknown:
        frames = [x / (high - low) for x in clipped]
        means = [ndimage.uniform_filter(x.numpy(), (1, 1, 1, 7, 7), mode="mirror") for x in frames]
        squares = [ndimage.uniform_filter((x * x).numpy(), (1, 1, 1, 7, 7), mode="mirror") for x in frames]
        both = ndimage.uniform_filter((frames[0] * frames[1]).numpy(), (1, 1, 1, 7, 7), mode="mirror")
        (a, b), covariance = means, both - means[0] * means[1]
        variances = sum(square - mean**2 for square, mean in zip(squares, means, strict=True))
        expected = (2 * a * b + 1e-4) * (2 * covariance + 9e-4) / (a**2 + b**2 + 1e-4) / (variances + 9e-4)
        np.testing.assert_allclose(scores["SSIM"], expected.mean((2, 3, 4)), rtol=1e-4, atol=1e-6)
        assert float(ssim(*frames, frames[1])) == pytest.approx(1 - scores["SSIM"].mean().item(), rel=1e-4)


@given(seeds, st.floats(0.05, 0.95))
@PROPERTY
def test_the_pinball_loss_is_that_of_scikit_learn(seed, probability):
    from sklearn import metrics as sklearn

    output, truth = sample(seed, 2, 30)
    expected = sklearn.mean_pinball_loss(truth, output, alpha=probability)
    assert float(find_loss("quantile", probability).of(output, truth, truth)) == pytest.approx(expected)

"""Cards contain the metadata, put the import first, and are valid on the Hub."""

import dataclasses
import re
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from benchmarks.tables import narrow
from convrnn_zoo import WEIGHTS, Metric, WeightsError
from convrnn_zoo.hub import card_text, check_card, model_card
from convrnn_zoo.hub.cards import describes_other_weights, weights_card
from tests.helpers.hub.examples import make, representatives, weight
from tests.helpers.hub.records import example_record
from tests.helpers.registry import slow_unless
from tools.weights import NOT_GENERATED, shipped_card

CARDS = Path(__file__).parents[2] / "model_cards"
RECORDS = [example_record(), *WEIGHTS.values()]
every_record = pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)


@every_record
def test_cards_contain_all_metadata(record):
    text = card_text(record)
    card = check_card(ModelCard(text))
    generated = card.text
    assert f'convrnn_zoo.create_model("{record.name}", pretrained=True)' in generated
    for value in (
        f"{record.num_params:,}",
        record.sha256,
        record.dataset,
        record.dataset_url,
        record.license,
        record.description,
        record.recipe,
        *record.label_names,
    ):
        assert value in generated
    for metric in record.metrics:
        named = re.compile(rf"\| {re.escape(metric.name)}(?: per pixel.*| \(.*|:.*)?")
        (row,) = (line for line in generated.splitlines() if named.fullmatch(line.partition(" | ")[0]))
        assert f"| {metric.value:.4g}" in row
        assert all(f"| {value:.4g} |" in row for value in metric.baselines.values())
        assert ("summed over" in row) == bool(metric.summed_over)
        assert metric.mean is None or f"{metric.mean:g} ± {metric.std:g} ({metric.runs} runs)" in row
    assert card.data.license == record.license
    assert card.data.library_name == "convrnn_zoo"
    assert {"timm", "convrnn-zoo", record.architecture} <= set(card.data.tags)


@every_record
def test_the_model_index_contains_every_metric(record):
    data = ModelCard(card_text(record)).data
    assert data.model_name == record.name
    assert sorted(r.metric_value for r in data.eval_results) == sorted(m.value for m in record.metrics)
    assert {r.dataset_name for r in data.eval_results} == {m.dataset for m in record.metrics}
    assert not {r.dataset_type for r in data.eval_results} & {"ylecun/mnist", "zalando-datasets/fashion_mnist"}


@every_record
def test_keeps_the_figure_and_the_last_part_of_shipped_cards(record):
    text = shipped_card(record)
    assert text == narrow(card_text(record))
    picture, last = "![rain](rain.gif)", f"\n{NOT_GENERATED}\n\n## Limits\n\nNoise.\n"
    edited = text.replace(f"# {record.name}\n\n", f"# {record.name}\n\n{picture}\n\n") + last
    assert shipped_card(record, edited.replace(record.sha256, "0" * 64)) == edited


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_example_loads_the_weights_of_the_card(name):
    shipped, retrained = WEIGHTS[name], dataclasses.replace(WEIGHTS[name], sha256="0" * 64)
    assert weights_card(shipped, "my/run") == card_text(shipped)
    assert 'from_pretrained("my/run")' in weights_card(retrained, "my/run")


@every_record
def test_a_card_of_other_weights_is_recognized(record):
    assert not describes_other_weights(card_text(record), record.sha256)
    assert describes_other_weights(card_text(record), "0" * 64)
    assert not describes_other_weights("Somebody else's.", record.sha256)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_cards_of_this_project_are_as_generated(name):
    text = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert shipped_card(WEIGHTS[name], text) == text, "run `make docs`"


@pytest.mark.sampled("name")
@pytest.mark.parametrize("name", slow_unless(lambda n: weight(n) < 5_000_000, representatives()))
def test_model_cards_describe_the_model(name, tmp_path):
    model = make(name)
    card = model_card(
        model,
        "me/radar",
        license="mit",
        task="video-classification",
        description="Sees rain.",
        datasets=["radar"],
        metrics=[Metric("F1 score", 0.5, "Radar 2020", "test")],
        tags=["nowcasting"],
    )
    card.save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.pipeline_tag, data.datasets) == ("mit", "video-classification", ["radar"])
    assert {"nowcasting", name} <= set(data.tags)
    assert (data.eval_results[0].metric_type, data.eval_results[0].metric_value) == ("f1", 0.5)
    assert data.eval_results[0].dataset_type == "radar"
    assert 'convrnn_zoo.from_pretrained("me/radar")' in card.text
    assert f"{sum(p.numel() for p in model.parameters()):,}" in card.text
    assert model_card(model, "me/radar", task="next-frame prediction").data.pipeline_tag == "video-to-video"


def result(**changes):
    fields = {"task_type": "t", "dataset_type": "d", "dataset_name": "D", "metric_type": "m", "metric_value": 1.0}
    return ModelCardData(license="mit", model_name="n", eval_results=[EvalResult(**fields | changes)])


FAULTS = {
    "no licence": (ModelCardData(), "license"),
    "unnamed licence": (ModelCardData(license="other"), "license_name"),
    "tags": (ModelCardData(license="mit", tags=["a", 3]), r"tags.*\[3\]"),
    "datasets": (ModelCardData(license="mit", datasets=[{}]), r"datasets.*\[\{\}\]"),
    "NaN": (result(metric_value=float("nan")), "'m'.* nan"),
    "infinite": (result(metric_value=float("inf")), "'m'.* inf"),
    "no number": (result(metric_value="good"), "'m'.*'good'"),
    "no data set": (result(dataset_name=""), "dataset_name"),
}


@pytest.mark.parametrize(("data", "words"), FAULTS.values(), ids=FAULTS)
def test_rejects_invalid_cards_offline(data, words):
    with pytest.raises(WeightsError, match=words):
        check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n"))


def test_a_nan_metric_never_reaches_a_card():
    with pytest.raises(WeightsError, match=r"'accuracy'.* nan"):
        model_card(make(), "me/x", license="mit", metrics=[Metric("accuracy", float("nan"), "D", "test")])
    record = example_record()
    broken = dataclasses.replace(record.metrics[0], value=float("nan"))
    with pytest.raises(WeightsError, match=r"'accuracy'.* nan"):
        card_text(dataclasses.replace(record, metrics=(broken,)))

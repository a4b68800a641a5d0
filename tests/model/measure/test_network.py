from pathlib import Path

from distilpose.model.load import load_models
from distilpose.model.measure.evaluate import evaluate
from distilpose.model.measure.network import report_network
from labelled import FRONTAL, person, picture, write_folder


def test_a_report_has_accuracy_cost_and_speed_of_one_network(tmp_path: Path) -> None:
    models = load_models(device="cpu", engine="torch")
    people = write_folder(tmp_path, [picture(1)], [person(1, FRONTAL)])

    measured = report_network(models, evaluate(models.predictor, people))

    first, *_, size, speed = measured.summary()
    assert first.startswith("mean OKS 0.")
    assert size == "4.52 M parameters, 0.61 GMACs a crop"
    assert "crops/s in batches of 8 (float32 by torch on cpu, " in speed
    document = measured.to_json()
    assert document["network"]["architecture"] == "distilpose-n"
    assert document["network"]["sha256"] == models.sha256
    assert document["cost"]["parameters"] == 4_518_030
    assert document["speed"]["batch_size"] == models.predictor.engine.buckets[-1]
    assert document["speed"]["crops_per_second"] > 0
    assert document["reliability"]["all"]["keypoints"] == len(FRONTAL)
    assert document["people"] == 1
    assert any(sentence.startswith("A score should be") for sentence in document["protocol"])


def test_without_labels_by_people_there_is_no_reliability(tmp_path: Path) -> None:
    models = load_models(device="cpu", engine="torch")
    by_network = person(1, FRONTAL, keypoint_weight=[1.0] * 17, label="network")
    people = write_folder(tmp_path, [picture(1)], [by_network])

    measured = report_network(models, evaluate(models.predictor, people))

    assert measured.keypoints == {}
    assert measured.to_json()["reliability"] == {}

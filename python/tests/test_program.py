"""The package and the program compute the same numbers."""

import json
import subprocess

import numpy as np
import program
import pytest
import tiny_model

import offramp
from offramp import metrics, policy


@pytest.fixture(scope="module")
def tested(model_path, tmp_path_factory):
    """What `offramp test` says of the tiny model, and the logits that it saves."""
    executable = program.find()
    folder = tmp_path_factory.mktemp("tested")
    data = program.write_image_folder(folder / "data", tiny_model.CLASSES, 40)
    saved = folder / "logits.safetensors"
    done = subprocess.run(
        [
            executable, "test", model_path, "--data", data, "--json", "--save-logits", saved,
            "--threads", "1",
        ],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tensors = program.read_tensors(saved)
    return json.loads(done.stdout), tensors["logits"], tensors["labels"], data


def test_metrics_are_those_of_the_program_to_the_last_bit(tested, model):
    said, logits, labels, _ = tested
    assert logits.shape == (3, 200, 5) and said["images"] == 200
    costs = model.relative_costs
    result = metrics.measure(logits, labels, costs=costs, weights=[0.3, 0.3, 0.4])
    for exit, of_exit in zip(said["exits"], result.exits, strict=True):
        assert exit["accuracy"] == of_exit.accuracy
        assert tuple(exit["accuracy_interval"]) == of_exit.accuracy_interval
        assert exit["nll"] == of_exit.nll
        assert exit["ece"] == of_exit.ece
    assert [exit["relative_cost"] for exit in said["exits"]] == costs.tolist()
    assert said["ensembles"] == {one.kind: one.accuracy for one in result.ensembles}
    counts = result.overthinking
    said_counts = said["overthinking"]
    assert said_counts["wasteful"] == counts.wasteful / 200
    assert said_counts["destructive"] == counts.destructive / 200
    assert said_counts["oracle"] == counts.oracle / 200
    assert said_counts["destroyed_errors"] == counts.destroyed_errors
    assert said_counts["needed_cost"] == counts.needed_cost
    assert said_counts["first_correct"] == (counts.first_correct / 200).tolist()
    for row, of_class in zip(
        said_counts["classes"], metrics.overthinking_by_class(logits, labels), strict=True
    ):
        assert row["destructive"] == of_class.destructive
        assert row["lost_after"] == of_class.lost_after.tolist()


def test_a_policy_is_that_of_the_program_to_the_last_bit(tested, model):
    said, logits, labels, _ = tested
    rule = policy.Policy(said["policy"]["thresholds"])
    measured = metrics.measure_policy(rule, logits, labels, model.relative_costs)
    for key in ("accuracy", "relative_cost", "harm", "help"):
        assert said["policy"][key] == getattr(measured, key), key
    assert tuple(said["policy"]["accuracy_interval"]) == measured.accuracy_interval
    assert said["policy"]["shares"] == measured.shares.tolist()
    assert said["policy"]["accuracy_of_reference"] == measured.reference_accuracy
    assert 0 < measured.shares[0] < 1 and measured.harm + measured.help > 0


def test_sessions_compute_the_logits_of_the_program(tested, model):
    _, logits, _, data = tested
    files = sorted((data / "test").rglob("*.png"))
    assert (model.session().logits(files) == logits).all()


def test_a_run_folder_stands_for_its_model(model_path, tmp_path):
    with pytest.raises(offramp.Error, match="contains no model.safetensors; expected a run folder"):
        offramp.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(model_path.read_bytes())
    model = offramp.load(tmp_path, threads=1)
    assert model.path == str(tmp_path / "model.safetensors")
    assert np.array_equal(model.macs, offramp.load(model_path).macs)
    with pytest.raises(offramp.Error, match="no such file or folder"):  # of the data: the model was found
        offramp.calibrate(tmp_path, tmp_path / "nowhere", max_cost=0.5)

import numpy as np
import pytest
from conftest import make_logits

import offramp
from offramp import metrics, policy

COSTS = [0.3, 0.6, 1.05]


@pytest.fixture(scope="module")
def test_set():
    return make_logits(1500, seed=5)


def test_exits_are_measured(test_set):
    logits, labels = test_set
    result = metrics.measure(logits, labels, costs=COSTS)
    assert result.images == 1500 and len(result.exits) == 3
    for k, one in enumerate(result.exits):
        z = logits[k].astype(np.float64)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        assert one.accuracy == (z.argmax(axis=1) == labels).mean()
        assert one.nll == pytest.approx(-log_p[np.arange(1500), labels].mean(), rel=1e-5)
        assert one.accuracy_interval == metrics.wilson(round(one.accuracy * 1500), 1500)
        confidence = np.exp(log_p.max(axis=1))
        ece = metrics.expected_calibration_error(confidence, z.argmax(axis=1) == labels)
        assert one.ece == pytest.approx(ece, abs=1e-6)
    assert [one.kind for one in result.ensembles] == ["mean", "geometric", "weighted"]


def test_overthinking_is_counted(test_set):
    logits, labels = test_set
    counts = metrics.overthinking(logits, labels, costs=COSTS)
    correct = logits.argmax(axis=-1) == labels
    earlier = correct[:-1].any(axis=0)
    assert counts.wasteful == (earlier & correct[-1]).sum()
    assert counts.destructive == (earlier & ~correct[-1]).sum()
    assert counts.oracle == correct.any(axis=0).sum()
    assert counts.first_correct.sum() == counts.oracle
    assert COSTS[0] <= counts.needed_cost <= COSTS[-1]
    assert metrics.overthinking(logits, labels).needed_cost is None
    by_class = metrics.overthinking_by_class(logits, labels)
    assert sum(one.destructive for one in by_class) == counts.destructive


def test_the_confusion_matrix_counts_images(test_set):
    logits, labels = test_set
    matrix = metrics.confusion_matrix(logits, labels, exit=3)
    expected = np.zeros((5, 5), int)
    np.add.at(expected, (labels, logits[2].argmax(axis=1)), 1)
    assert (matrix == expected).all()
    for exit in (0, 4):
        with pytest.raises(ValueError, match="1 to 3"):
            metrics.confusion_matrix(logits, labels, exit=exit)


def test_a_policy_is_measured_against_its_controls(test_set):
    logits, labels = test_set
    rule = policy.choose(logits, labels, COSTS, max_cost=0.6).policy
    measured = metrics.measure_policy(rule, logits, labels, COSTS)
    replayed = policy.replay(rule, logits)
    last = logits[-1].argmax(axis=1)
    assert measured.accuracy == (replayed.class_index == labels).mean()
    assert measured.harm == ((last == labels) & (replayed.class_index != labels)).mean()
    assert measured.accuracy - (last == labels).mean() == pytest.approx(
        measured.help - measured.harm
    )
    assert measured.relative_cost == pytest.approx(np.dot(measured.shares, COSTS))
    controls = metrics.controls(rule, logits, labels, COSTS)
    assert list(controls) == ["exit 1", "exit 2", "exit 3", "random", "oracle"]
    third = controls["exit 3"]
    assert third == metrics.compare(replayed.class_index, last, labels, COSTS[-1])
    assert third.difference == pytest.approx(measured.accuracy - third.accuracy)
    assert third.difference_interval[0] <= third.difference <= third.difference_interval[1]
    assert controls["oracle"].accuracy >= measured.accuracy
    assert controls["random"].accuracy_interval is None


def test_a_sweep_rises_in_cost(test_set):
    logits, labels = test_set
    curves = metrics.sweep(*make_logits(1000, seed=6), logits, labels, COSTS)
    assert {curve.criterion for curve in curves} == set(policy.criteria())
    for curve in curves:
        costs = [point.relative_cost for point in curve.points]
        assert costs == sorted(costs) and len(curve.points) == len(curve.tune_points)
        assert 0 <= curve.points[-1].accuracy <= 1


def test_numbers_that_are_no_rates_are_refused(test_set):
    for wrong in (
        lambda: metrics.wilson(3, 2),
        lambda: metrics.wilson(0, 0),
        lambda: metrics.paired_difference(2, 2, 3),
        lambda: metrics.reliability([1.5], [True]),
        lambda: metrics.reliability([], []),
        lambda: metrics.measure(*test_set, weights=[1, 1]),
        lambda: metrics.measure(np.full((1, 2, 3), np.nan), [0, 1]),
        lambda: metrics.measure(np.zeros((1, 2, 3)), [0, 3]),
    ):
        with pytest.raises(offramp.Error):
            wrong()


def test_results_are_short_at_a_prompt(test_set):
    logits, labels = test_set
    fitted = policy.choose(logits, labels, COSTS, max_cost=0.6).policy
    curves = metrics.sweep(logits, labels, logits, labels, COSTS)
    for result in (
        metrics.measure(logits, labels, costs=COSTS),
        metrics.measure_policy(fitted, logits, labels, COSTS),
        *metrics.controls(fitted, logits, labels, COSTS).values(),
        *curves,
        metrics.reliability([0.5, 0.9], [True, False]),
    ):
        assert repr(result).startswith(type(result).__name__ + "(")
        assert len(repr(result)) < 300 and "\n" not in repr(result) and "array(" not in repr(result)
    assert len(repr(curves)) < 4000

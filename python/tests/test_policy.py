import pickle

import numpy as np
import pytest
from conftest import make_logits

import offramp
from offramp import metrics, policy

COSTS = [0.3, 0.6, 1.05]


@pytest.fixture(scope="module")
def tune():
    return make_logits(2000, seed=1)


@pytest.fixture(scope="module")
def certify():
    return make_logits(4000, seed=2)


def softmax(z, temperature):
    z = z.astype(np.float64) / np.float64(np.float32(temperature))
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def stops(fitted, logits):
    """Where images stop, and what they are answered there, by a loop of numpy."""
    sure, answers = policy.scores(fitted, logits)
    exits = np.full(logits.shape[1], len(logits) - 1)
    for k in reversed(range(len(logits) - 1)):
        if fitted.thresholds[k] is not None:
            exits[sure[k] >= np.float32(fitted.thresholds[k])] = k
    return exits, answers[exits, np.arange(len(exits))]


def test_temperatures_minimise_the_likelihoods_loss(tune):
    logits, labels = tune
    fitted = policy.fit(logits, labels)
    assert fitted.thresholds == [None, None] and fitted.num_exits == 3

    def loss(k, temperature):
        p = softmax(logits[k], temperature)
        return -np.log(p[np.arange(len(labels)), labels]).mean()

    for k, temperature in enumerate(fitted.temperatures):
        assert temperature == pytest.approx(policy.temperature(logits[k], labels), rel=1e-6)
        for other in (0.9, 1.1):
            assert loss(k, temperature) <= loss(k, temperature * other)


def test_a_policy_is_built_and_compared_by_its_values():
    one = policy.Policy([0.5, None], criterion="margin", temperatures=[1, 2, 3])
    assert one == policy.Policy([0.5, None], criterion="margin", temperatures=[1, 2, 3])
    assert one != policy.Policy([0.5, 0.5], criterion="margin", temperatures=[1, 2, 3])
    assert "margin" in repr(one) and "never" in repr(one)
    for wrong in (
        lambda: policy.Policy([0.5], criterion="surprise"),
        lambda: policy.Policy([0.5], ensemble="some"),
        lambda: policy.Policy([0.5], temperatures=[1, 0]),
        lambda: policy.Policy([0.5], temperatures=[1]),
    ):
        with pytest.raises(offramp.Error):
            wrong()


def test_replaying_stops_where_numpy_says(tune):
    logits, labels = tune
    chosen = policy.choose(logits, labels, COSTS, max_accuracy_drop=0.01)
    assert chosen.met
    replayed = policy.replay(chosen.policy, logits)
    exits, answers = stops(chosen.policy, logits)
    assert (replayed.exit == exits + 1).all()
    assert (replayed.class_index == answers).all()
    assert (answers == labels).mean() == pytest.approx(chosen.accuracy)
    assert np.array(COSTS)[exits].mean() == pytest.approx(chosen.relative_cost)
    last = (logits[-1].argmax(axis=1) == labels).mean()
    assert chosen.accuracy >= last - 0.01 and chosen.held_out_accuracy >= last - 0.01 - 1e-9
    assert replayed.shares.sum() == pytest.approx(1)
    first = policy.replay(policy.Policy([0.0, None]), logits)
    assert first.shares.tolist() == [1, 0, 0]


def test_the_aims_are_kept(tune):
    logits, labels = tune
    cheap = policy.choose(logits, labels, COSTS, max_cost=0.5)
    assert cheap.met and cheap.relative_cost <= 0.5
    fixed = policy.choose(logits, labels, COSTS, threshold=0.8)
    assert fixed.policy.thresholds == [pytest.approx(0.8)] * 2
    assert not policy.choose(logits, labels, COSTS, max_cost=0.1).met
    for criterion in policy.criteria():
        for ensemble in ("off", "mean", "geometric", "weighted"):
            chosen = policy.choose(
                logits, labels, COSTS, max_cost=0.8, criterion=criterion, ensemble=ensemble
            )
            assert chosen.policy.criterion == criterion
            assert chosen.relative_cost <= 0.8


def test_a_certificate_bounds_the_harm(tune, certify):
    result = policy.certify(*tune, *certify, COSTS, epsilon=0.03, delta=0.05)
    assert result.holds and result.upper_bound <= 0.03
    assert result.statement == "harm ≤ 0.03 with probability ≥ 0.95"
    assert result.images == 4000 and result.images_needed <= 4000
    logits, labels = certify
    _, answers = stops(result.policy, logits)
    harmed = (logits[-1].argmax(axis=1) == labels) & (answers != labels)
    assert harmed.sum() == result.counted
    step = result.path[result.chosen]
    assert step.thresholds == result.policy.thresholds and step.counted == result.counted
    costs = [one.relative_cost for one in result.path]
    assert costs == sorted(costs, reverse=True)
    assert result.level < 0.05
    later = policy.certify(*tune, *certify, COSTS, epsilon=0.03, attempt=2)
    assert later.level < result.level


def test_a_label_free_certificate_reads_no_label(tune, certify):
    logits, _ = certify
    result = policy.certify(tune[0], None, logits, None, COSTS, epsilon=0.03, label_free=True)
    assert result.holds and "other than the last exit" in result.statement
    _, answers = stops(result.policy, logits)
    assert (answers != logits[-1].argmax(axis=1)).sum() == result.counted
    with pytest.raises(ValueError, match="certify_labels"):
        policy.certify(*tune, logits, None, COSTS, epsilon=0.03, attempt=2)


def test_the_same_certify_images_are_not_taken_twice_without_a_word(tune, certify):
    logits, labels = certify
    first = policy.certify(*tune, *certify, COSTS, epsilon=0.03)
    again = policy.certify(*tune, list(logits), labels, np.array(COSTS), epsilon=0.03)
    assert again.policy == first.policy
    policy.certify(*tune, *certify, COSTS, epsilon=0.02, attempt=2)
    turned = logits[:, ::-1], labels[::-1]
    with pytest.warns(UserWarning, match="^certify_logits: attempt 1 on these .* attempt=3 "):
        policy.certify(*tune, *turned, COSTS, epsilon=0.025)
    fitted = policy.fit(*tune, criterion="entropy")
    with pytest.warns(UserWarning, match="attempt 2 on these images was another call"):
        policy.certify(*tune, *certify, COSTS, epsilon=0.02, attempt=2, policy=fitted)
    policy.certify(*tune, logits[:, 1:], labels[1:], COSTS, epsilon=0.02)


def test_tune_images_certify_nothing(tune, certify):
    """A policy that was chosen on the certify images has no bound."""
    logits, labels = certify
    for first, second in (
        (certify, certify),
        (certify, (logits.copy(), labels)),
        ((logits[:, :2500], labels[:2500]), (logits[:, 2000:], labels[2000:])),
        ((logits, labels), (logits[:, ::-1], labels[::-1])),
        ((list(logits), labels), (logits[:, 100:110], labels[100:110])),
    ):
        with pytest.raises(ValueError, match="images have the logits of tune images"):
            policy.certify(*first, *second, COSTS, epsilon=0.03)
    assert policy.certify(
        logits[:, :2000], labels[:2000], logits[:, 2000:], labels[2000:], COSTS, epsilon=0.03
    ).holds
    # Logits of few values are equal by chance.
    coarse = [(np.round(z), y) for z, y in (tune, certify)]
    assert len(np.unique(coarse[0][0][0], axis=0)) < 2000
    policy.certify(*coarse[0], *coarse[1], COSTS, epsilon=0.03)
    constant = [(np.zeros_like(z), y) for z, y in (tune, certify)]
    policy.certify(*constant[0], *constant[1], COSTS, epsilon=0.03)
    with pytest.raises(ValueError, match="4000 of 4000"):
        policy.certify(*coarse[1], *coarse[1], COSTS, epsilon=0.03)


def test_results_are_short_at_a_prompt(tune, certify):
    result = policy.certify(*tune, *certify, COSTS, epsilon=0.03)
    assert len(result.path) > 50 and len(repr(result)) < 500
    assert result.statement in repr(result) and "of a path of" in repr(result)
    nothing = policy.certify(*tune, *make_logits(50, seed=3), COSTS, epsilon=0.01)
    assert "nothing is certified" in repr(nothing)
    step = result.path[result.chosen]
    assert repr(step).startswith("PathStep(thresholds 0.") and len(repr(step)) < 120
    chosen = policy.choose(*tune, COSTS, max_cost=0.6)
    assert f"accuracy {chosen.accuracy:.4f}" in repr(chosen) and len(repr(chosen)) < 200
    replayed = policy.replay(result.policy, tune[0])
    assert repr(replayed).startswith("Replay(2000 images; exits 1: ") and len(repr(replayed)) < 80


def test_policies_and_certificates_are_pickled(tune, certify):
    weighted = policy.fit(*tune, ensemble="weighted")
    assert pickle.loads(pickle.dumps(weighted)) == weighted
    result = policy.certify(*tune, *certify, COSTS, epsilon=0.03)
    assert pickle.loads(pickle.dumps(result)) == result


def test_too_few_images_certify_nothing(tune):
    logits, labels = make_logits(50, seed=3)
    result = policy.certify(*tune, logits, labels, COSTS, epsilon=0.01)
    assert not result.holds and result.images_needed > 50
    assert result.policy.thresholds == [None, None]
    assert policy.images_needed(0.01, result.level) == result.images_needed


def test_foreseeing_looks_at_tune_images_alone(tune):
    chosen = policy.foresee(*tune, COSTS, epsilon=0.03, certify_images=4000)
    assert chosen.met and chosen.relative_cost < COSTS[-1]
    assert not policy.foresee(*tune, COSTS, epsilon=0.03, certify_images=10).met


def test_scores_are_the_largest_probabilities(tune):
    logits, _ = tune
    scores, answers = policy.scores(policy.Policy([None, None]), logits)
    assert np.allclose(scores, softmax(logits, 1).max(axis=-1), atol=1e-6)
    assert (answers == logits.argmax(axis=-1)).all()


def test_drift_compares_shares():
    assert policy.drift([0.5, 0.5], 1000, [0.5, 0.5], 1000)[0] == "none"
    assert policy.drift([0.9, 0.1], 1000, [0.5, 0.5], 1000)[0] == "drifted"
    assert policy.drift([0.9, 0.1], 10, [0.5, 0.5], 1000)[0] == "unknown"
    with pytest.raises(ValueError, match="2 and 3"):
        policy.drift([0.9, 0.1], 10, [0.5, 0.3, 0.2], 1000)


def test_tensors_and_lists_of_exits_are_taken(tune):
    logits, labels = tune
    expected = policy.choose(logits, labels, COSTS, max_cost=0.5)
    assert policy.choose(list(logits), labels.tolist(), np.array(COSTS), max_cost=0.5) == expected
    doubles = logits.astype(np.float64)
    assert policy.choose(doubles, labels.astype(np.int32), COSTS, max_cost=0.5) == expected


def test_tensors_of_torch_are_taken(tune):
    torch = pytest.importorskip("torch")
    logits, labels = tune
    expected = policy.choose(logits, labels, COSTS, max_cost=0.5)
    exits = [torch.from_numpy(one).requires_grad_() for one in logits]
    assert policy.choose(exits, torch.from_numpy(labels), COSTS, max_cost=0.5) == expected


@pytest.mark.parametrize(
    "change, message",
    [
        ({"logits": np.zeros((2, 3))}, r"\[2, 3\]"),
        ({"logits": np.zeros((3, 2000, 5), int)}, "int64"),
        ({"logits": np.zeros((3, 0, 5))}, "nothing"),
        ({"logits": [np.zeros((4, 5)), np.zeros((3, 5))]}, "one shape"),
        ({"labels": np.zeros(7, int)}, "7 of them"),
        ({"labels": np.zeros(2000)}, "whole numbers"),
        ({"labels": np.full(2000, 5)}, "from 0 to 4, got 5 for image 0"),
        ({"labels": np.r_[np.zeros(1999, int), -1]}, "got -1 for image 1999"),
        ({"logits": np.full((3, 2000, 5), np.inf)}, "got inf of class 0 at exit 1 for image 0"),
        ({"logits": np.full((3, 2000, 5), 1e300)}, "finite"),
        ({"costs": [1, 2]}, "3 exits"),
        ({"costs": [1, 0.5, 2]}, "fall"),
        ({"costs": [1, float("nan"), 2]}, "finite"),
        ({"max_cost": -1}, "^max_cost: .*-1"),
        ({"max_cost": None, "max_accuracy_drop": 2}, "^max_accuracy_drop: .*2"),
        ({"threshold": 0.5}, "one of"),
        ({"criterion": "surprise"}, "surprise"),
        ({"policy": policy.Policy([0.5])}, "2 exits"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tune, change, message):
    logits, labels = tune
    arguments = {"logits": logits, "labels": labels, "costs": COSTS, "max_cost": 0.5, **change}
    with pytest.raises(offramp.Error, match=message) as caught:
        policy.choose(**arguments)
    assert "\n" not in str(caught.value)


def test_no_call_reads_beside_the_logits(tune, certify):
    logits, labels = tune
    rule = policy.Policy([0.5, None])
    for wrong in (10**6, -(10**8), -1, 5):
        bad = labels.copy()
        bad[7] = wrong
        for call in (
            lambda: policy.temperature(logits[0], bad),
            lambda: policy.fit(logits, bad),
            lambda: policy.certify(logits, bad, *certify, COSTS, epsilon=0.02),
            lambda: policy.foresee(logits, bad, COSTS, epsilon=0.02, certify_images=1000),
            lambda: metrics.measure_policy(rule, logits, bad, COSTS),
            lambda: metrics.controls(rule, logits, bad, COSTS),
        ):
            with pytest.raises(ValueError, match=f"got {wrong} for image 7"):
                call()
    holes = logits.copy()
    holes[1, 3, 2] = np.nan
    for call in (
        lambda: policy.replay(rule, holes),
        lambda: policy.scores(rule, holes),
        lambda: policy.certify(*tune, holes, labels, COSTS, epsilon=0.02),
        lambda: metrics.measure_policy(rule, holes, labels, COSTS),
    ):
        with pytest.raises(ValueError, match="got nan of class 2 at exit 2 for image 3"):
            call()


def test_what_a_label_free_certificate_would_choose_needs_no_label(tune):
    free = policy.foresee(
        tune[0], None, COSTS, epsilon=0.03, certify_images=4000, label_free=True
    )
    assert 0 < free.relative_cost <= COSTS[-1]
    with pytest.raises(ValueError, match="tune_labels"):
        policy.foresee(tune[0], None, COSTS, epsilon=0.03, certify_images=4000)

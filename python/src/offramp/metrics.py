"""Metrics of any early-exit network, from its logits and labels as arrays.

The arithmetic is that of ``offramp test``. Arguments are as in `offramp.policy`: ``logits``
[K, N, classes], ``labels`` [N], ``costs`` [K]. Rates are fractions of 1; intervals are (low, high)
at 95 %.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from . import _core
from ._arrays import costs_array, labels_array, labels_of, logits_array
from ._core import Policy, UsageError
from ._texts import rate_text
from .policy import replay

__all__ = [
    "Control",
    "Curve",
    "EnsembleMetrics",
    "ExitMetrics",
    "Metrics",
    "Overthinking",
    "PolicyMetrics",
    "Reliability",
    "SweepPoint",
    "compare",
    "confusion_matrix",
    "controls",
    "expected_calibration_error",
    "measure",
    "measure_policy",
    "overthinking",
    "overthinking_by_class",
    "paired_difference",
    "reliability",
    "sweep",
    "wilson",
]

Interval = tuple[float, float]


@dataclasses.dataclass(slots=True, frozen=True)
class ExitMetrics:
    """Of one exit: accuracy with its Wilson interval, mean negative log-likelihood in nats,
    expected calibration error over 15 bins of equal width."""

    accuracy: float
    accuracy_interval: Interval
    nll: float
    ece: float

    def __repr__(self) -> str:
        accuracy = rate_text(self.accuracy, self.accuracy_interval)
        return f"ExitMetrics(accuracy {accuracy}, nll {self.nll:.4f}, ece {self.ece:.4f})"


@dataclasses.dataclass(slots=True, frozen=True)
class EnsembleMetrics:
    """Of a mean over all exits: "mean", "geometric" or "weighted"."""

    kind: str
    accuracy: float
    accuracy_interval: Interval

    def __repr__(self) -> str:
        accuracy = rate_text(self.accuracy, self.accuracy_interval)
        return f"EnsembleMetrics({self.kind!r}, accuracy {accuracy})"


@dataclasses.dataclass(slots=True, frozen=True, eq=False)
class Overthinking:
    """Where the correct answer is found and lost on the way through the exits (after Kaya et al.,
    2019). Counts of images.

    Attributes:
        images: all of them.
        wasteful: an earlier exit is correct, and the last one too.
        destructive: an earlier exit is correct, and the last one is not.
        oracle: some exit is correct.
        errors: of the last exit.
        destroyed_errors: share of these that an earlier exit classifies correctly.
        first_correct: int64 [K], exit k is the first that is correct.
        lost_after: int64 [K - 1], exit k is correct, and no later one.
        needed_cost: mean cost of stopping at the first correct exit, over images that have one;
            None without costs.
    """

    images: int
    wasteful: int
    destructive: int
    oracle: int
    errors: int
    destroyed_errors: float
    first_correct: np.ndarray
    lost_after: np.ndarray
    needed_cost: float | None

    def __repr__(self) -> str:
        cost = "" if self.needed_cost is None else f", mean cost needed {self.needed_cost:.3f}"
        return (
            f"Overthinking({self.images} images: {self.wasteful} wasteful, {self.destructive} "
            f"destructive; {self.errors} errors of the last exit, {self.oracle} images that some "
            f"exit classifies correctly{cost})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Metrics:
    """Everything that needs only logits and labels."""

    images: int
    exits: list[ExitMetrics]
    ensembles: list[EnsembleMetrics]
    overthinking: Overthinking

    def __repr__(self) -> str:
        exits = ", ".join(f"{one.accuracy:.4f}" for one in self.exits)
        return f"Metrics({self.images} images; accuracy by exit {exits}; {self.overthinking})"


@dataclasses.dataclass(slots=True, frozen=True, eq=False)
class PolicyMetrics:
    """What a policy does on labelled images.

    Attributes:
        relative_cost: mean over the images.
        shares: float64 [K] of the images, by the exit where they stop.
        harm: rate of images that the reference classifies correctly and the policy does not.
        help: the reverse.
        reference_accuracy: of the reference: the last exit, or the ensemble of all exits.
    """

    accuracy: float
    accuracy_interval: Interval
    relative_cost: float
    shares: np.ndarray
    harm: float
    help: float
    reference_accuracy: float

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:.3f}" for share in self.shares)
        return (
            f"PolicyMetrics(accuracy {rate_text(self.accuracy, self.accuracy_interval)} at relative "
            f"cost {self.relative_cost:.3f}; shares {shares}; harm {self.harm:.4f}, help "
            f"{self.help:.4f}; reference {self.reference_accuracy:.4f})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Control:
    """Another way to classify the same images, compared with a policy.

    Attributes:
        accuracy_interval: None for an expectation, such as of exits drawn at random.
        relative_cost: mean over the images.
        difference: the policy's accuracy less this one's.
        difference_interval: paired, 95 %.
    """

    accuracy: float
    accuracy_interval: Interval | None
    relative_cost: float
    difference: float
    difference_interval: Interval

    def __repr__(self) -> str:
        return (
            f"Control(accuracy {rate_text(self.accuracy, self.accuracy_interval)} at relative cost "
            f"{self.relative_cost:.3f}; difference "
            f"{rate_text(self.difference, self.difference_interval)})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class SweepPoint:
    """What one threshold for all early exits does; `shares` [K] by exit."""

    threshold: float
    accuracy: float
    relative_cost: float
    harm: float
    help: float
    shares: list[float]

    def __repr__(self) -> str:
        return (
            f"SweepPoint(threshold {self.threshold:.4f}: accuracy {self.accuracy:.4f} at relative "
            f"cost {self.relative_cost:.3f})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Curve:
    """Accuracy against cost along one threshold, by rising threshold: on the images read, and with
    the same thresholds on the tune images that they were chosen on."""

    criterion: str
    ensemble: str
    points: list[SweepPoint]
    tune_points: list[SweepPoint]

    def __repr__(self) -> str:
        first, last = self.points[0], self.points[-1]
        return (
            f"Curve({self.criterion!r}, ensemble {self.ensemble!r}: {len(self.points)} points, "
            f"accuracy {first.accuracy:.4f} to {last.accuracy:.4f}, relative cost "
            f"{first.relative_cost:.3f} to {last.relative_cost:.3f})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Reliability:
    """Expected calibration error, and its 15 bins as (images, mean confidence, accuracy)."""

    ece: float
    bins: list[tuple[int, float, float]]

    def __repr__(self) -> str:
        return f"Reliability(ece {self.ece:.4f}, {len(self.bins)} bins)"


def _arrays(logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    array = logits_array(logits)
    return array, labels_of(array, labels)


def _needed(costs: Any, exits: int) -> list[float]:
    return [] if costs is None else costs_array(costs, exits).tolist()


def wilson(successes: int, n: int) -> Interval:
    """Wilson's 95 % interval of a rate of successes / n."""
    return _core.wilson(successes, n)


def paired_difference(gained: int, lost: int, n: int) -> Interval:
    """95 % interval of the difference of two rates on the same n images, `gained` of which count
    for the first alone and `lost` for the second alone (Bonett and Price, 2012)."""
    return _core.paired_difference(gained, lost, n)


def measure(logits: Any, labels: Any, *, costs: Any = None, weights: Any = None) -> Metrics:
    """Accuracy, likelihood and calibration of each exit and of ensembles, and overthinking.

    Args:
        costs: for `Overthinking.needed_cost`.
        weights: [K] of the weighted ensemble; None: equal ones.

    Raises:
        ValueError: arrays that do not fit each other, a label that is no class, or a logit that is
            not finite.
    """
    array, answers = _arrays(logits, labels)
    exits = array.shape[0]
    weights = [1 / exits] * exits if weights is None else [float(w) for w in weights]
    images, of_exits, ensembles, counts = _core.measure(
        array, answers, weights, _needed(costs, exits)
    )
    return Metrics(
        images,
        [ExitMetrics(*one) for one in of_exits],
        [EnsembleMetrics(*one) for one in ensembles],
        Overthinking(*counts),
    )


def overthinking(logits: Any, labels: Any, *, costs: Any = None) -> Overthinking:
    """Where the correct answer is found and lost, over all images."""
    return measure(logits, labels, costs=costs).overthinking


def overthinking_by_class(logits: Any, labels: Any, *, costs: Any = None) -> list[Overthinking]:
    """The same for the images of each class, in order."""
    array, answers = _arrays(logits, labels)
    return [
        Overthinking(*counts)
        for counts in _core.overthinking_by_class(array, answers, _needed(costs, array.shape[0]))
    ]


def confusion_matrix(logits: Any, labels: Any, exit: int) -> np.ndarray:
    """int64 [classes, classes] counts, rows the label, columns the answer of an exit, from 1."""
    array, answers = _arrays(logits, labels)
    return _core.confusion_matrix(array, answers, exit - 1)


def reliability(confidence: Any, correct: Any) -> Reliability:
    """Confidence against accuracy in 15 bins of equal width.

    Args:
        confidence: [N] in [0, 1].
        correct: [N], whether each image is classified correctly.
    """
    ece, bins = _core.reliability(
        np.ascontiguousarray(confidence, dtype=np.float64),
        np.ascontiguousarray(correct).astype(np.int64),
    )
    return Reliability(ece, bins)


def expected_calibration_error(confidence: Any, correct: Any) -> float:
    """The expected calibration error over 15 bins of equal width."""
    return reliability(confidence, correct).ece


def measure_policy(
    policy: Policy, logits: Any, labels: Any, costs: Any, *, against: str = "last_exit"
) -> PolicyMetrics:
    """Accuracy, cost and harm of a policy on labelled images, replayed from the logits of all
    exits.

    Args:
        against: what harm is counted against: the "last_exit" alone, or the "ensemble" of all
            exits, for a policy with an ensemble.
    """
    array, truth = _arrays(logits, labels)
    replayed = replay(policy, array, against=against)
    return PolicyMetrics(
        *_core.measure_policy(
            truth,
            replayed.exit - 1,
            replayed.class_index,
            replayed.reference_class_index,
            costs_array(costs, array.shape[0]),
        )
    )


def compare(answers: Any, other: Any, labels: Any, relative_cost: float) -> Control:
    """Compares the answers [N] of a policy with those [N] of another network, of this mean
    relative cost, on the same images."""
    truth = labels_array(labels)
    return Control(
        *_core.control_of(
            truth, labels_array(answers, len(truth), "answers"),
            labels_array(other, len(truth), "other"), relative_cost,
        )
    )


def controls(
    policy: Policy, logits: Any, labels: Any, costs: Any, *, alone_costs: Any = None
) -> dict[str, Control]:
    """What a policy is to be compared with: each exit used alone ("exit 1", …), exits drawn at
    random at the policy's rates ("random"), and stopping at the first correct exit ("oracle").

    Args:
        alone_costs: [K] relative costs of the network cut off at each exit, with no other head.
            None: `costs`, which hold the heads on the way too.
    """
    array, truth = _arrays(logits, labels)
    exits = array.shape[0]
    cost = costs_array(costs, exits)
    alone = cost if alone_costs is None else costs_array(alone_costs, exits, "alone_costs")
    answers = replay(policy, array).class_index
    shares = measure_policy(policy, array, truth, cost).shares
    result = {
        f"exit {k + 1}": Control(
            *_core.control_of(
                truth, answers, array[k].argmax(axis=1).astype(np.int64), float(alone[k])
            )
        )
        for k in range(exits)
    }
    result["random"] = Control(*_core.random_exits(array, truth, answers, shares, cost))
    result["oracle"] = Control(*_core.oracle(array, truth, answers, cost))
    return result


def sweep(
    tune_logits: Any, tune_labels: Any, logits: Any, labels: Any, costs: Any
) -> list[Curve]:
    """Accuracy against cost along one threshold, for every criterion and ensemble. Temperatures,
    weights and thresholds are chosen on the tune images, and read on the others."""
    tune = logits_array(tune_logits, "tune_logits")
    array, truth = _arrays(logits, labels)
    if tune.shape[::2] != array.shape[::2]:
        raise UsageError(
            f"logits: {array.shape[0]} exits and {array.shape[2]} classes, but tune_logits have "
            f"{tune.shape[0]} and {tune.shape[2]}"
        )
    curves = _core.sweep(
        tune, labels_of(tune, tune_labels, "tune_labels"), array, truth,
        costs_array(costs, tune.shape[0]),
    )
    return [
        Curve(
            criterion, ensemble, [SweepPoint(*p) for p in points], [SweepPoint(*p) for p in on_tune]
        )
        for criterion, ensemble, points, on_tune in curves
    ]

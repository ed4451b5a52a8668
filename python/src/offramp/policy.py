"""Decisions for any early-exit network, from its logits as arrays.

The arithmetic is the program's own, so results are equal to those of ``offramp calibrate`` to the
last bit. In all functions

- ``logits`` are [K, N, classes] of K exits on N images, or a list of K arrays [N, classes];
- ``labels`` are whole numbers [N], from 0;
- ``costs`` are [K]: the cost of an image that stops at each exit, heads on its way included,
  divided by that of the network without early exits. They do not fall.

Arrays are numpy's, or anything numpy can read, such as torch tensors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from typing import Any

import numpy as np

from . import _core
from ._arrays import costs_array, labels_of, logits_array, named_as_arguments
from ._core import Policy, UsageError, images_needed
from ._texts import exits_text, thresholds_text

__all__ = [
    "Chosen",
    "Certification",
    "PathStep",
    "Policy",
    "Replay",
    "certify",
    "choose",
    "criteria",
    "drift",
    "fit",
    "foresee",
    "images_needed",
    "replay",
    "scores",
    "temperature",
]


@dataclasses.dataclass(slots=True, frozen=True)
class Chosen:
    """Thresholds that were chosen on tune images.

    Attributes:
        policy: with these thresholds.
        accuracy: on the images that it was chosen on; without labels, the rate of agreement with
            the last exit.
        relative_cost: mean, on the same images.
        met: whether the aim is met; else the policy never stops early.
        held_out_accuracy: for aims of accuracy and cost: with thresholds chosen on other images
            than they are evaluated on (cross-validation); else None.
    """

    policy: Policy
    accuracy: float
    relative_cost: float
    met: bool
    held_out_accuracy: float | None

    def __repr__(self) -> str:
        met = "" if self.met else ", the aim is not met"
        held_out = self.held_out_accuracy
        held_out = "" if held_out is None else f", held out {held_out:.4f}"
        return (
            f"Chosen({self.policy}{met}; accuracy {self.accuracy:.4f}{held_out}, at relative cost "
            f"{self.relative_cost:.3f})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class PathStep:
    """One of the policies that were tested for a certificate.

    Attributes:
        thresholds: of the early exits; None: never stops there.
        counted: certify images that it harms, or answers otherwise.
        accuracy: on the tune images; without tune labels, the rate of agreement with the last exit.
        relative_cost: mean, on the tune images.
    """

    thresholds: list[float | None]
    counted: int
    accuracy: float
    relative_cost: float

    def __repr__(self) -> str:
        return (
            f"PathStep({thresholds_text(self.thresholds)}, {self.counted} counted, accuracy "
            f"{self.accuracy:.4f} at relative cost {self.relative_cost:.3f})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Certification:
    """The result of certifying along a path of policies.

    Attributes:
        policy: the cheapest one that was certified; it never stops early if none was.
        holds: whether a policy that stops early was certified.
        statement: what is certified, as a text: "harm ≤ 0.01 with probability ≥ 0.95".
        attempt: which certificate of these images it is, from 1.
        level: of each test: what earlier attempts left of delta.
        images: number of certify images.
        images_needed: to certify a policy that harms none of them.
        counted: images that the policy harms, or answers otherwise.
        upper_bound: of their rate (Clopper and Pearson), at most epsilon.
        path: the policies that were tested, in order; long paths are thinned.
        chosen: index in `path` of the certified one.
        disagreement: bound on the rate of images that the policy and the reference classify
            differently, certified together with harm; None if label-free or nothing was certified.
    """

    policy: Policy
    holds: bool
    statement: str
    attempt: int
    level: float
    images: int
    images_needed: int
    counted: int
    upper_bound: float
    path: list[PathStep]
    chosen: int
    disagreement: float | None = None

    def __repr__(self) -> str:
        found = self.statement if self.holds else "nothing is certified"
        return (
            f"Certification({self.policy}, {found!r}: {self.counted} of {self.images} images "
            f"counted, upper bound {self.upper_bound:.4g}; step {self.chosen} of a path of "
            f"{len(self.path)})"
        )


@dataclasses.dataclass(slots=True, frozen=True, eq=False)
class Replay:
    """Where a policy stops each image, and what it answers there.

    Attributes:
        exit: int64 [N], from 1.
        class_index: int64 [N], of the exit or of the policy's ensemble.
        probability: float32 [N], of that class.
        reference_class_index: int64 [N], the classes that harm is counted against.
        num_exits: K.
    """

    exit: np.ndarray
    class_index: np.ndarray
    probability: np.ndarray
    reference_class_index: np.ndarray
    num_exits: int

    def __repr__(self) -> str:
        counts = np.bincount(self.exit, minlength=self.num_exits + 1)[1:]
        return f"Replay({len(self.exit)} images; {exits_text(counts)})"

    @property
    def shares(self) -> np.ndarray:
        """float64 [K]: share of the images that stop at each exit."""
        return np.bincount(self.exit, minlength=self.num_exits + 1)[1:] / len(self.exit)


def criteria() -> list[str]:
    """Names of the criteria: "confidence", "entropy", "margin", "patience"."""
    return _core.criteria()


def fit(
    logits: Any, labels: Any, *, criterion: str = "confidence", ensemble: str = "off"
) -> Policy:
    """A policy with temperatures, and the weights of a weighted ensemble, fitted on tune images;
    without thresholds: it never stops early.

    Args:
        criterion: "confidence", "entropy", "margin" or "patience".
        ensemble: "off", "mean", "geometric" or "weighted".

    Raises:
        ValueError: an unknown word, or arrays that do not fit each other.
    """
    array = logits_array(logits)
    return _core.fit_policy(array, labels_of(array, labels), criterion, ensemble)


def _policy_for(
    policy: Policy | None, logits: np.ndarray, labels: np.ndarray, criterion: str, ensemble: str
) -> Policy:
    if policy is None:
        return _core.fit_policy(logits, labels, criterion, ensemble)
    if policy.num_exits != logits.shape[0]:
        raise UsageError(
            f"policy: it has {policy.num_exits} exits, the logits are of {logits.shape[0]}"
        )
    return policy


def choose(
    logits: Any,
    labels: Any,
    costs: Any,
    *,
    threshold: float | None = None,
    max_accuracy_drop: float | None = None,
    max_cost: float | None = None,
    criterion: str = "confidence",
    ensemble: str = "off",
    policy: Policy | None = None,
    reference_accuracy: float | None = None,
) -> Chosen:
    """Chooses thresholds on tune images, for one aim.

    Args:
        threshold: this one at every early exit.
        max_accuracy_drop: the cheapest policy whose accuracy, held out as well, is at most this
            below the reference; a fraction of 1.
        max_cost: the most accurate policy whose mean relative cost is at most this.
        policy: temperatures and ensemble, as `fit` gives; None: they are fitted on these images.
        reference_accuracy: that an accuracy drop is measured from; None: of the last exit.

    Raises:
        ValueError: not exactly one aim, a number that makes no sense, arrays that do not fit.
    """
    array = logits_array(logits)
    exits, images, _ = array.shape
    answers = labels_of(array, labels)
    cost = costs_array(costs, exits)
    if sum(aim is not None for aim in (threshold, max_accuracy_drop, max_cost)) != 1:
        raise UsageError("expected one of threshold, max_accuracy_drop and max_cost")
    policy = _policy_for(policy, array, answers, criterion, ensemble)
    if reference_accuracy is None:
        reference_accuracy = int((array[-1].argmax(axis=1) == answers).sum()) / images
    with named_as_arguments():
        if threshold is not None:
            return Chosen(*_core.choose_fixed(policy, array, answers, cost, threshold))
        if max_cost is not None:
            return Chosen(*_core.choose_max_cost(policy, array, answers, cost, max_cost))
        return Chosen(
            *_core.choose_accuracy_drop(
                policy, array, answers, cost, max_accuracy_drop, reference_accuracy
            )
        )


def _without_labels(
    logits: np.ndarray, criterion: str, ensemble: str, policy: Policy | None
) -> tuple[np.ndarray, Policy]:
    if policy is None:
        if ensemble == "weighted":
            raise UsageError("ensemble: the weights of \"weighted\" are fitted on labelled images")
        policy = Policy([None] * (logits.shape[0] - 1), criterion=criterion, ensemble=ensemble)
    return logits[-1].argmax(axis=1).astype(np.int64), policy


def _row_hashes(logits: np.ndarray) -> np.ndarray:
    """uint64 [N]: images whose logits [K, N, classes] have the same bits have the same hash."""
    exits, images, classes = logits.shape
    factors = np.random.default_rng(1).integers(
        0, 2**64, (exits, classes), dtype=np.uint64, endpoint=False
    )
    hashes = np.zeros(images, dtype=np.uint64)
    for first in range(0, images, 4096):
        part = logits[:, first : first + 4096].view(np.uint32)
        for bits, factor in zip(part, factors):
            hashes[first : first + 4096] += (bits * (factor | np.uint64(1))).sum(axis=1)
    return hashes


def _refuse_tune_images(tune: np.ndarray, certified: np.ndarray) -> None:
    """The path of policies was fixed on the tune images: a bound on the same ones is none.

    Coarse logits may agree by chance, so as many equal ones are accepted as the tune images lead to
    expect among themselves.
    """
    of_tune, of_certified = _row_hashes(tune), _row_hashes(certified)
    shared = int(np.isin(of_certified, of_tune).sum())
    _, counts = np.unique(of_tune, return_counts=True)
    expected = counts[counts > 1].sum() / len(of_tune) * len(of_certified)
    if np.array_equal(of_tune, of_certified) or shared > 2 * expected + 3:
        raise UsageError(
            f"certify_logits: {shared} of {len(of_certified)} images have the logits of tune "
            "images: certify on other images than those that the policy is chosen on"
        )


# What certified which images in this process: {images: {attempt: call}}, as hashes.
_certificates: dict[tuple[int, int], dict[int, bytes]] = {}


def _warn_of_other_certificates(certified: np.ndarray, attempt: int, call: tuple[Any, ...]) -> None:
    """The bounds of several certificates of the same images hold together only if each attempt has
    its own number. The same call again gives the same certificate."""
    hashes = _row_hashes(certified)
    calls = _certificates.setdefault((len(hashes), int(hashes.sum())), {})
    digest = hashlib.sha256()
    for one in call:
        digest.update(
            np.ascontiguousarray(one) if isinstance(one, np.ndarray) else repr(one).encode()
        )
        digest.update(b"|")
    of_call = digest.digest()
    if calls.setdefault(attempt, of_call) != of_call:
        warnings.warn(
            f"certify_logits: attempt {attempt} on these images was another call: with attempt="
            f"{max(calls) + 1} this certificate and the earlier ones hold together",
            stacklevel=3,
        )


def certify(
    tune_logits: Any,
    tune_labels: Any,
    certify_logits: Any,
    certify_labels: Any,
    costs: Any,
    *,
    epsilon: float,
    delta: float = 0.05,
    label_free: bool = False,
    against: str = "last_exit",
    criterion: str = "confidence",
    ensemble: str = "off",
    policy: Policy | None = None,
    attempt: int = 1,
) -> Certification:
    """Certifies the cheapest policy whose rate of harm is at most epsilon, with probability at
    least 1 - delta over the draw of the certify images.

    A path of ever bolder thresholds is fixed on the tune images, then tested along the certify
    images, which were used neither for training nor for any choice, up to the first failure. The
    certify images must be distinct: of exact copies only one may be among them. Logits that are
    those of tune images are refused. Another call for the same certify images with the same attempt
    is warned of, where both are made in one process.

    Args:
        tune_labels, certify_labels: None if `label_free`, where the temperatures are then 1 unless
            a policy is given.
        epsilon, delta: in (0, 1).
        label_free: bound the rate of answers other than the reference's instead of harm.
        against: the reference: "last_exit", its own answer, or "ensemble", that of the ensemble of
            all exits, for a policy with an ensemble.
        policy: temperatures and ensemble; None: fitted on the tune images.
        attempt: which certificate of these certify images this is, from 1: later ones have less
            of delta left.

    Raises:
        ValueError: numbers or arrays that make no sense.
        Error: nothing of delta is left for this attempt.
    """
    tune = logits_array(tune_logits, "tune_logits")
    certified = logits_array(certify_logits, "certify_logits")
    if tune.shape[::2] != certified.shape[::2]:
        raise UsageError(
            f"certify_logits: {certified.shape[0]} exits and {certified.shape[2]} classes, but "
            f"tune_logits have {tune.shape[0]} and {tune.shape[2]}"
        )
    _refuse_tune_images(tune, certified)
    cost = costs_array(costs, tune.shape[0])
    if label_free and tune_labels is None:
        answers, policy = _without_labels(tune, criterion, ensemble, policy)
    else:
        answers = labels_of(tune, tune_labels, "tune_labels")
    policy = _policy_for(policy, tune, answers, criterion, ensemble)
    if label_free and certify_labels is None:
        truth = np.zeros(certified.shape[1], dtype=np.int64)
    else:
        truth = labels_of(certified, certify_labels, "certify_labels")
    called = (policy.__getstate__(), tune, answers, truth, cost, epsilon, delta, label_free, against)
    (
        policy, holds, attempt, level, images, needed, counted, bound, thresholds, chosen, harmed,
        accuracy, relative_cost, statement, disagreement,
    ) = _core.certify(
        policy, tune, answers, certified, truth, cost, epsilon, delta, label_free, against, attempt
    )  # fmt: skip
    _warn_of_other_certificates(certified, attempt, called)
    path = [PathStep(*step) for step in zip(thresholds, harmed, accuracy, relative_cost)]
    return Certification(
        policy, holds, statement, attempt, level, images, needed, counted, bound, path, chosen,
        disagreement,
    )  # fmt: skip


def foresee(
    tune_logits: Any,
    tune_labels: Any,
    costs: Any,
    *,
    epsilon: float,
    certify_images: int,
    delta: float = 0.05,
    label_free: bool = False,
    against: str = "last_exit",
    criterion: str = "confidence",
    ensemble: str = "off",
    policy: Policy | None = None,
    attempt: int = 1,
) -> Chosen:
    """What `certify` would choose if the certify images were like the tune images. It promises
    nothing, and looks at no certify image: for choices that come before the certificate."""
    array = logits_array(tune_logits, "tune_logits")
    cost = costs_array(costs, array.shape[0])
    if label_free and tune_labels is None:
        answers, policy = _without_labels(array, criterion, ensemble, policy)
    else:
        answers = labels_of(array, tune_labels, "tune_labels")
    policy = _policy_for(policy, array, answers, criterion, ensemble)
    return Chosen(
        *_core.foresee_guarantee(
            policy, array, answers, cost, epsilon, delta, label_free, against, certify_images,
            attempt,
        )  # fmt: skip
    )


def replay(policy: Policy, logits: Any, *, against: str = "last_exit") -> Replay:
    """Where a policy stops each image, computed from the logits of all exits.

    Args:
        against: what `Replay.reference_class_index` holds: the answers of the "last_exit" alone, or
            of the "ensemble" of all exits, for a policy with an ensemble.
    """
    array = logits_array(logits)
    exit_index, answers, probability, references = _core.replay(policy, array, against)
    return Replay(exit_index + 1, answers, probability, references, len(array))


def scores(policy: Policy, logits: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [K, N] and answers int64 [K, N] of all exits; thresholds are not used."""
    return _core.scores(policy, logits_array(logits))


def temperature(logits: Any, labels: Any) -> float:
    """The temperature T that minimises the mean negative log-likelihood of softmax(logits / T)
    (Guo et al., 2017), in [0.01, 100].

    Args:
        logits: [N, classes] of one exit.
    """
    array = logits_array([logits])[0]
    return _core.fit_temperature(array, labels_of(array, labels))


def drift(
    shares: Any, images: float, calibrated_shares: Any, calibrated_images: float
) -> tuple[str, float, float]:
    """Compares where images stop with where they stopped when the policy was chosen.

    Statistics of several workers are merged by adding their counts for each exit.

    Args:
        shares, calibrated_shares: [K] shares of the images by exit.
        images, calibrated_images: how many images they are of.

    Returns:
        "unknown" (fewer than 200 images), "none" or "drifted"; the p-value of the χ² test; the
        share of the images that stop at other exits.
    """
    now = np.ascontiguousarray(shares, dtype=np.float64)
    then = np.ascontiguousarray(calibrated_shares, dtype=np.float64)
    return _core.compare_exits(now, images, then, calibrated_images)

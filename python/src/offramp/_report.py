"""The report as one HTML page, from arrays."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _core
from ._arrays import costs_array, labels_of, logits_array
from ._core import Policy, UsageError
from .policy import Certification, Chosen


class Report(str):
    """A page of HTML: a str, whose repr is short. A notebook shows the page.

    Attributes:
        path: the file that it was written to; None: to none.
    """

    path: str | None

    def __new__(cls, page: str, path: str | None = None) -> Report:
        self = super().__new__(cls, page)
        self.path = path
        return self

    def __repr__(self) -> str:
        place = "" if self.path is None else f"{self.path!r}, "
        return f"Report({place}{len(self) / 1e6:.1f} MB of HTML)"

    def _repr_html_(self) -> str:
        # In a frame of its own: the page's styles and scripts are not those of the notebook.
        page = html.escape(self, quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 40em; border: 0"></iframe>'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page to a file, and keeps its path."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self)
        self.path = os.fsdecode(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Report, (str(self), self.path)


def report(
    logits: Any,
    labels: Any,
    costs: Any,
    *,
    policy: Policy | Chosen | Certification | None = None,
    images: Any = None,
    tune_logits: Any = None,
    tune_labels: Any = None,
    alone_costs: Any = None,
    classes: Sequence[str] | None = None,
    exit_units: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    title: str = "early-exit network",
    data: str = "arrays",
    facts: Mapping[str, object] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Report:
    """The report of any early-exit network as one HTML page that needs nothing else.

    Args:
        logits: [K, N, classes] of the test images, or a list of K arrays [N, classes].
        labels: [N].
        costs: [K], relative cost of an image that stops at each exit.
        policy: when images stop; None: at the last exit.
        images: uint8 [N, height, width, 3], for the galleries; None: grey squares.
        tune_logits, tune_labels: of tune images, for the curves of accuracy against cost.
        alone_costs: [K], see `offramp.metrics.controls`.
        classes: names of the classes.
        exit_units: [K], the name of the layer or block that each exit comes after.
        names: where each image came from.
        title, data: the network and the images, for people.
        facts: more lines for the table of facts.
        path: the page is also written there.

    Returns:
        The page, a `Report`.

    Raises:
        ValueError: arrays that do not fit each other, a label that is no class, or a logit that is
            not finite.
    """
    array = logits_array(logits)
    exits, count, num_classes = array.shape
    truth = labels_of(array, labels)
    cost = costs_array(costs, exits).tolist()
    alone = cost if alone_costs is None else costs_array(alone_costs, exits, "alone_costs").tolist()
    aim = guarantee = guarantee_status = ""
    if isinstance(policy, Certification):
        aim = policy.statement
        if policy.holds:
            guarantee = (
                f"{policy.statement} on images of the same distribution as {policy.images} certify "
                "images"
            )
            guarantee_status = (
                "not checked here: it applies to logits that the same code computed in the same "
                "precision"
            )
        policy = policy.policy
    elif isinstance(policy, Chosen):
        aim = "thresholds chosen on tune images"
        policy = policy.policy
    elif policy is not None:
        aim = "thresholds as given"
    tune = tune_answers = None
    if tune_logits is not None:
        tune = logits_array(tune_logits, "tune_logits")
        tune_answers = labels_of(tune, tune_labels, "tune_labels")
        if tune.shape[::2] != array.shape[::2]:
            raise UsageError("tune_logits: exits and classes differ from those of logits")
    if images is not None:
        images = np.ascontiguousarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UsageError(
                f"images: expected uint8 [N, height, width, 3], got {images.dtype} of shape "
                f"{list(images.shape)}"
            )
    def texts(given: Sequence[str] | None, size: int, name: str, by_default: str) -> list[str]:
        if given is None:
            return [by_default.format(i, i + 1) for i in range(size)]
        given = [str(one) for one in given]
        if len(given) != size:
            raise UsageError(f"{name}: expected {size}, got {len(given)}")
        return given

    page = _core.report(
        array, truth, cost, alone, policy, tune, tune_answers, images, title, data,
        texts(classes, num_classes, "classes", "class {0}"),
        texts(exit_units, exits, "exit_units", "exit {1}"),
        texts(names, count, "names", "image {0}"),
        [(str(key), str(value)) for key, value in (facts or {}).items()],
        aim, guarantee, guarantee_status,
    )  # fmt: skip
    result = Report(page)
    if path is not None:
        result.save(path)
    return result

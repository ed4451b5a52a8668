"""Calls on model files and data sets: the commands of the program, with results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from . import _core
from ._arrays import named_as_arguments
from ._core import Policy
from ._progress import Bar, Progress


@dataclasses.dataclass(slots=True, frozen=True, eq=False)
class Calibration:
    """A policy that was chosen and written into a model file.

    Attributes:
        policy: that was chosen.
        met: whether the aim is met; else the policy never stops early.
        tune_images: that it was chosen on.
        last_accuracy: of the last exit alone, on these images.
        accuracy, relative_cost, shares: of the policy, on these images.
        precision, kernels: that computed the logits.
        certify_images: number of them, for a guarantee; else None.
        guarantee: what is certified, as a text; None: nothing.
        warnings: signs that the policy cannot be trusted, one line each.
    """

    policy: Policy
    met: bool
    tune_images: int
    last_accuracy: float
    accuracy: float
    relative_cost: float
    shares: np.ndarray
    precision: str
    kernels: str
    certify_images: int | None
    guarantee: str | None
    warnings: list[str]

    def __repr__(self) -> str:
        met = "" if self.met else ", the aim is not met"
        promise = "" if self.guarantee is None else f", {self.guarantee}"
        warnings = f", {len(self.warnings)} warnings" if self.warnings else ""
        return (
            f"Calibration({self.policy}{met}{promise}; accuracy {self.accuracy:.4f} at relative "
            f"cost {self.relative_cost:.3f} on {self.tune_images} tune images, last exit "
            f"{self.last_accuracy:.4f}{warnings})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class ExitLoss:
    """An exit in f32 and in the deployed precision, on tune images: accuracies, the 95 % interval
    of their difference (deployed less reference), the share of equal answers."""

    reference_accuracy: float
    accuracy: float
    difference_low: float
    difference_high: float
    agreement: float


@dataclasses.dataclass(slots=True, frozen=True)
class Quantized:
    """A deployment file that was written.

    Attributes:
        path: of the file.
        observed: training images that ranges of activations were observed on.
        tune_images: that it was measured on.
        stored: images whose pixels and logits the file stores, so that its certificate can be
            checked on another CPU.
        exits: the loss of each exit.
        within_bounds: whether the last exit's loss is small enough for "auto" to run it.
        bytes_before, bytes: of the files.
        calibration: the policy, chosen again; None where there is none.
        no_policy: why there is none, one line; else empty.
    """

    path: str
    observed: int
    tune_images: int
    stored: int
    exits: list[ExitLoss]
    within_bounds: bool
    bytes_before: int
    bytes: int
    calibration: Calibration | None
    no_policy: str

    def __repr__(self) -> str:
        last = self.exits[-1]
        bounds = "within" if self.within_bounds else "out of"
        return (
            f"Quantized({self.path!r}, {self.bytes / 1e6:.1f} MB; last exit {last.accuracy:.4f}, in "
            f"f32 {last.reference_accuracy:.4f}, {bounds} bounds; {self.calibration})"
        )


def calibrate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    max_accuracy_drop: float | None = None,
    max_cost: float | None = None,
    guarantee: float | None = None,
    delta: float = 0.05,
    label_free: bool = False,
    against: str = "last_exit",
    criterion: str = "confidence",
    ensemble: str = "off",
    precision: str = "auto",
    threads: int = 0,
    progress: Progress | bool = False,
    note: Callable[[str], None] | None = None,
) -> Calibration:
    """Chooses a model's policy on its tune images, and writes it: ``offramp calibrate``.

    Args:
        model: the model file, or a run folder.
        data: the data set that it was trained on, as the program takes it.
        out: the file to write; None: the model's own.
        threshold, max_accuracy_drop, max_cost, guarantee: the aim, one of them; see
            `offramp.policy.choose` and, for `guarantee` (epsilon), `offramp.policy.certify`.
        progress: called with (done, total, unit), or True for a bar of tqdm where it is
            installed. What it raises ends the call, and nothing is written.
        note: called with remarks, one line each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: options that make no sense.
        Error: the data do not hold the model's images; a file cannot be written.
    """
    with Bar(progress) as bar, named_as_arguments():
        return Calibration(
            *_core.calibrate(
                os.fsdecode(model), os.fsdecode(data), "" if out is None else os.fsdecode(out),
                criterion, ensemble, threshold, max_accuracy_drop, max_cost, guarantee, delta,
                label_free, against, precision, threads, bar.report, note,
            )
        )  # fmt: skip


def quantize(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    precision: str = "int8",
    images: int = 1024,
    threads: int = 0,
    check_images: str | os.PathLike[str] | None = None,
    progress: Progress | bool = False,
    note: Callable[[str], None] | None = None,
) -> Quantized:
    """Writes a deployment file of one precision, and chooses the policy again: ``offramp
    quantize``.

    Args:
        out: None: beside the model, ``model.int8.safetensors``.
        precision: "int8" or "bf16".
        images: training images to observe ranges of activations on.
        check_images: the data set from whose test part the images are taken that an int8 file
            stores; None: tune images.

    Other arguments and errors are as those of `calibrate`.
    """
    with Bar(progress) as bar, named_as_arguments():
        (
            path, observed, tune, stored, exits, within, before, size, calibration, no_policy,
        ) = _core.quantize(
            os.fsdecode(model), os.fsdecode(data), "" if out is None else os.fsdecode(out),
            precision, images, threads,
            "" if check_images is None else os.fsdecode(check_images), bar.report, note,
        )  # fmt: skip
    return Quantized(
        path, observed, tune, stored, [ExitLoss(*one) for one in exits], within, before, size,
        None if calibration is None else Calibration(*calibration), no_policy,
    )  # fmt: skip

"""Calls on model files and data sets: the commands of the program, with results."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _core
from ._arrays import channel_values, named_as_arguments
from ._core import Error, Policy, UsageError
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


@dataclasses.dataclass(slots=True, frozen=True)
class Imported:
    """A plain model, with one exit, that was made of a trained network. It stands for the path of
    its file: ``offramp.load(imported)``, ``offramp.quantize(imported, data)``.

    Attributes:
        path: of the model file.
        producer: the program that wrote the ONNX file; may be empty.
        opset: of the ONNX file.
        onnx_nodes, nodes: operations of the ONNX file, and of the model.
        input_shape: (channels, height, width).
        num_classes: how many.
        parameters: number of them.
        macs: multiply-accumulates of an image.
        observed_images, tune_images, certify_images: of `data`, for the ranges of int8, to choose
            on and to certify on; 0 without `data`.
        notes: what was left out or moved to the preprocessing, one line each.
        difference: max|a - b| / max|b| of the model's logits a and the module's b, for the example
            input; None where there was no module.
    """

    path: str
    producer: str
    opset: int
    onnx_nodes: int
    nodes: int
    input_shape: tuple[int, int, int]
    num_classes: int
    parameters: int
    macs: int
    observed_images: int
    tune_images: int
    certify_images: int
    notes: list[str]
    difference: float | None = None

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        notes = f"; {len(self.notes)} notes" if self.notes else ""
        difference = "" if self.difference is None else (
            f"; logits differ by {self.difference:.1e} from the module's"
        )  # fmt: skip
        return (
            f"Imported({self.path!r}: {self.num_classes} classes, input {list(self.input_shape)}, "
            f"{self.parameters:,} parameters, {self.macs:,} MACs{difference}{notes})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Exported:
    """An ONNX file that was written; it stands for its path.

    Attributes:
        path: of the file.
        form: "conditional", "all-exits" or "plain".
        exits: number of exits that it has.
        bytes: its size.
    """

    path: str
    form: str
    exits: int
    bytes: int

    def __fspath__(self) -> str:
        return self.path


def import_onnx(
    network: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    mean: Any = None,
    std: Any = None,
    fit: str = "crop",
    data: str | os.PathLike[str] | None = None,
) -> Imported:
    """Makes a model file of a trained classifier in ONNX, without any training: ``offramp import``.
    `from_torch` takes a network of PyTorch.

    Args:
        network: the ONNX file; docs/from-pytorch.md says what it may contain.
        out: the model file.
        labels: names of the classes in the order of the logits, or a text file with a name a line;
            None: "class 0" and so on.
        image_size: height and width, or one number for both; needed where the ONNX file leaves them
            open.
        mean, std: of pixels in [0, 1], a number or [3]: the normalisation that the network was
            trained with. None: ImageNet's, or none where the network normalises its input itself.
        fit: how images are resized: "crop" keeps the aspect ratio and cuts out the centre,
            "squeeze" does not.
        data: a data set that the network was not trained on, as the program takes it. Its training
            part is divided into images for `quantize` and `calibrate`.

    Raises:
        FileNotFoundError: there is no such ONNX file or text file.
        ValueError: options that make no sense.
        Error: the file is not a classifier of images in ONNX, or has operations that are not
            supported; labels or data do not fit it.
    """
    return imported_with_input(network, out, labels, image_size, mean, std, fit, data)[0]


def imported_with_input(
    network: str | os.PathLike[str],
    out: str | os.PathLike[str],
    labels: str | os.PathLike[str] | Sequence[str] | None,
    image_size: int | tuple[int, int] | None,
    mean: Any,
    std: Any,
    fit: str,
    data: str | os.PathLike[str] | None,
) -> tuple[Imported, np.ndarray, np.ndarray]:
    """What was imported; scale and shift [0, 1 or 3] that the ONNX network applies to its input and
    the model's network does not."""
    file, names = _labels(labels)
    try:
        *values, scale, shift = _core.import_onnx(
            os.fsdecode(network), os.fsdecode(out), file, names, _image_size(image_size), fit,
            channel_values(mean, "mean"), channel_values(std, "std"),
            "" if data is None else os.fsdecode(data),
        )  # fmt: skip
    except Error as error:
        text = re.sub(r"(?<!\S)--image-size\b", "image_size", str(error))
        raise type(error)(text) from None
    values[5] = tuple(values[5])
    return Imported(*values), np.float32(scale), np.float32(shift)


def _labels(labels: Any) -> tuple[str, list[str]]:
    """(file, names) of which one is empty."""
    if labels is None:
        return "", []
    if isinstance(labels, (str, bytes, os.PathLike)):
        return os.fsdecode(labels), []
    try:
        names = list(labels)
    except TypeError:
        names = None
    if names is None or isinstance(labels, (dict, set)):
        raise TypeError(
            f"labels: expected a list of names or a text file, got {type(labels).__name__}"
        )
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"labels[{i}]: expected a name, got {type(name).__name__}")
    if not names:
        raise UsageError("labels: expected a name for each class, got none")
    return "", names


def _image_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        numbers = [int(one) for one in np.broadcast_to(np.asarray(size), 2)]
        is_size = np.asarray(size).dtype.kind in "iu" and all(0 < one < 1 << 31 for one in numbers)
    except (TypeError, ValueError):
        is_size = False
    if not is_size:
        raise UsageError(f"image_size: expected (height, width) or one number, got {size!r}")
    return numbers[0], numbers[1]


def export_onnx(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    form: str = "conditional",
) -> Exported:
    """Writes a model as an ONNX file, for ONNX Runtime: ``offramp export``.

    Args:
        model: the model file, or a run folder.
        out: the ONNX file.
        form: "conditional" (stops by the model's policy, one image at a time), "all-exits" (the
            logits of every exit) or "plain" (those of the last exit).

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: another form.
        Error: the conditional form of a model without a policy or with one exit; a file cannot be
            written.
    """
    return Exported(*_core.export_onnx(os.fsdecode(model), os.fsdecode(out), form))

"""Arrays of any framework as the extension takes them; one clear line for what does not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ._core import UsageError


_ARGUMENTS = {
    "epsilon": "guarantee",
    "max_drop": "max_accuracy_drop",
    "max_relative_cost": "max_cost",
}


@contextlib.contextmanager
def named_as_arguments() -> Iterator[None]:
    """Errors that begin with the name of an option of the library name the argument instead."""
    try:
        yield
    except UsageError as error:
        name, colon, text = str(error).partition(": ")
        if not colon or name not in _ARGUMENTS:
            raise
        raise UsageError(f"{_ARGUMENTS[name]}: {text}") from None


def _to_numpy(value: Any, name: str) -> np.ndarray:
    try:
        if hasattr(value, "detach"):  # a torch tensor
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":
                value = value.float()
        return np.asarray(value)
    except Exception as error:
        raise UsageError(f"{name}: cannot be read as an array: {error}") from error


def logits_array(logits: Any, name: str = "logits") -> np.ndarray:
    """float32 [K, N, classes], all finite, of an array or of K arrays [N, classes], one for each
    exit."""
    if isinstance(logits, Sequence):
        exits = [_to_numpy(one, f"{name}[{k}]") for k, one in enumerate(logits)]
        shapes = sorted({one.shape for one in exits})
        if len(shapes) != 1:
            raise UsageError(f"{name}: expected arrays of one shape for the exits, got {shapes}")
        array = np.stack(exits)
    else:
        array = _to_numpy(logits, name)
    if array.ndim != 3:
        raise UsageError(
            f"{name}: expected [exits, images, classes], got an array of shape {list(array.shape)}"
        )
    if array.dtype.kind != "f":
        raise UsageError(f"{name}: expected floating-point numbers, got {array.dtype}")
    if 0 in array.shape:
        raise UsageError(f"{name}: nothing in an array of shape {list(array.shape)}")
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
        array = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        k, image, c = np.unravel_index(finite.argmin(), array.shape)
        raise UsageError(
            f"{name}: expected finite numbers, got {array[k, image, c]} of class {c} at exit "
            f"{k + 1} for image {image}"
        )
    return array


def labels_array(labels: Any, images: int | None = None, name: str = "labels") -> np.ndarray:
    """int64 [N]; N must be `images`, where that is given."""
    array = _to_numpy(labels, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(
            f"{name}: expected whole numbers [images], got {array.dtype} of shape "
            f"{list(array.shape)}"
        )
    if images is not None and len(array) != images:
        raise UsageError(f"{name}: {len(array)} of them for logits of {images} images")
    return np.ascontiguousarray(array, dtype=np.int64)


def labels_of(logits: np.ndarray, labels: Any, name: str = "labels") -> np.ndarray:
    """int64 [N], each below `classes`, for logits [..., N, classes]."""
    images, classes = logits.shape[-2:]
    array = labels_array(labels, images, name)
    wrong = (array < 0) | (array >= classes)
    if wrong.any():
        image = int(wrong.argmax())
        raise UsageError(
            f"{name}: expected classes from 0 to {classes - 1}, got {array[image]} for image "
            f"{image}"
        )
    return array


def costs_array(costs: Any, exits: int, name: str = "costs") -> np.ndarray:
    """float64 [K] that do not fall."""
    array = _to_numpy(costs, name)
    if array.shape != (exits,) or array.dtype.kind not in "fiu":
        raise UsageError(
            f"{name}: expected one number for each of {exits} exits, got {array.dtype} of shape "
            f"{list(array.shape)}"
        )
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not (np.isfinite(array).all() and (array > 0).all() and (np.diff(array) >= 0).all()):
        raise UsageError(
            f"{name}: expected finite numbers above 0 that do not fall from exit to exit, got "
            f"{array.tolist()}"
        )
    return array


def channel_values(values: Any, name: str) -> list[float] | None:
    """Three finite numbers, of one number or of one for each channel; None stays None."""
    if values is None:
        return None
    array = _to_numpy(values, name)
    if array.shape not in ((), (1,), (3,)) or array.dtype.kind not in "fiu":
        raise UsageError(
            f"{name}: expected one number or one for each of red, green and blue, got "
            f"{array.dtype} of shape {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: expected finite numbers, got {array.tolist()}")
    if name == "std" and not (array > 0).all():
        raise UsageError(f"{name}: expected numbers above 0, got {array.tolist()}")
    return np.broadcast_to(array.astype(np.float64), 3).tolist()

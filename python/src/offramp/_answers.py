"""What a session answers: one image, or the columns of many."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator
from typing import overload

import numpy as np

from ._texts import exits_text


@dataclasses.dataclass(slots=True, eq=False)
class Answer:
    """What the network predicts for one image, at the exit where the image stopped.

    Attributes:
        class_index: index of the class, from 0; -1 if there is an error.
        class_name: its name; None if there is an error.
        probability: of that class, in [0, 1].
        exit: where the image stopped, counted from 1.
        relative_cost: multiply-accumulates spent, divided by those of the plain network.
        macs: multiply-accumulates spent.
        limited: a deadline or a budget stopped the image before its rule did.
        probabilities: of all classes, float32 [classes], if the session was asked for them.
        error: one line if the image could not be classified, else None.
        id: the number of the image in its batch or stream, from 0.
    """

    class_index: int
    class_name: str | None
    probability: float
    exit: int
    relative_cost: float
    macs: int
    limited: bool
    probabilities: np.ndarray | None = None
    error: str | None = None
    id: int = 0

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Answer(error={self.error!r})"
        limited = ", limited=True" if self.limited else ""
        return (
            f"Answer({self.class_name!r}, probability={self.probability:.3f}, "
            f"exit={self.exit}, relative_cost={self.relative_cost:.3f}{limited})"
        )


@dataclasses.dataclass(slots=True, eq=False, repr=False)
class Answers:
    """Answers for N images, as columns; ``answers[i]`` and iteration give one `Answer` each, and
    ``answers[:10]`` is `Answers` of a part.

    Attributes:
        class_index: int64 [N], -1 for an image with an error.
        probability: float32 [N], of the class; NaN for an image with an error.
        exit: int64 [N], where each image stopped, from 1; 0 for an image with an error.
        relative_cost: float64 [N]; NaN for an image with an error.
        macs: int64 [N].
        limited: bool [N], stopped by a deadline or a budget.
        probabilities: float32 [N, classes] if the session was asked for them, else None.
        error: list [N] of None, or one line for an image that could not be classified.
        classes: names of the classes.
    """

    class_index: np.ndarray
    probability: np.ndarray
    exit: np.ndarray
    relative_cost: np.ndarray
    macs: np.ndarray
    limited: np.ndarray
    probabilities: np.ndarray | None
    _error: list[str | None] | None
    classes: list[str]

    @property
    def class_name(self) -> list[str | None]:
        """Names of the classes, list [N]; None for an image with an error."""
        return [self.classes[i] if i >= 0 else None for i in self.class_index.tolist()]

    @property
    def error(self) -> list[str | None]:
        return [None] * len(self) if self._error is None else self._error

    def __len__(self) -> int:
        return len(self.class_index)

    @overload
    def __getitem__(self, i: int) -> Answer: ...

    @overload
    def __getitem__(self, i: slice) -> Answers: ...

    def __getitem__(self, i):
        if isinstance(i, slice):
            return Answers(
                *(None if column is None else column[i] for column in self._columns()), self.classes
            )
        try:
            i = operator.index(i)
        except TypeError:
            raise TypeError(
                f"answers[i]: expected a number or a slice, got {type(i).__name__}; columns are "
                "attributes, such as answers.exit"
            ) from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"answer {i} of {len(self)}")
        index = int(self.class_index[i])
        return Answer(
            index,
            self.classes[index] if index >= 0 else None,
            float(self.probability[i]),
            int(self.exit[i]),
            float(self.relative_cost[i]),
            int(self.macs[i]),
            bool(self.limited[i]),
            None if self.probabilities is None else self.probabilities[i],
            None if self._error is None else self._error[i],
            i % len(self),
        )

    def _columns(self):
        return (
            self.class_index, self.probability, self.exit, self.relative_cost, self.macs,
            self.limited, self.probabilities, self._error,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Answer]:
        return (self[i] for i in range(len(self)))

    def to_pandas(self):
        """A pandas.DataFrame with one row for each image. Needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error

        return pandas.DataFrame(
            {
                "class_index": self.class_index,
                "class_name": self.class_name,
                "probability": self.probability,
                "exit": self.exit,
                "relative_cost": self.relative_cost,
                "error": self.error,
            }
        )

    def __repr__(self) -> str:
        good = self.class_index >= 0
        count = int(good.sum())
        parts = [f"{len(self)} images"]
        if count:
            last = int(self.exit.max())
            exits = np.bincount(self.exit[good], minlength=last + 1)[1:]
            parts.append(exits_text(exits))
            parts.append(f"mean relative cost {self.relative_cost[good].mean():.3f}")
        if self.limited.any():
            parts.append(f"{int(self.limited.sum())} limited by a deadline or a budget")
        if count < len(self):
            parts.append(f"{len(self) - count} errors")
        return f"Answers({'; '.join(parts)})"

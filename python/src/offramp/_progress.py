"""Progress of long calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[int, int, str], None]


class Bar:
    """Progress for people: tqdm's bar where it is installed, else none."""

    def __init__(self, progress: Callable[..., None] | bool):
        self.report: Callable[..., None] | None = progress if callable(progress) else None
        self.bar: Any = None
        if progress is True:
            try:
                import tqdm.auto
            except ImportError:
                return
            self.bar = tqdm.auto.tqdm()
            self.report = self._step

    def _step(self, done: int, total: int, unit: str) -> None:
        if total != self.bar.total or done < self.bar.n:
            self.bar.reset(total)
            self.bar.unit = " " + unit
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

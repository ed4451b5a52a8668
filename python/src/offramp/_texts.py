"""Texts that several results have in their repr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def exits_text(counts: Iterable[int]) -> str:
    """Counts of images by exit: "exits 1: 40, 2: 60"."""
    return "exits " + ", ".join(f"{k}: {int(n)}" for k, n in enumerate(counts, 1))


def thresholds_text(thresholds: Sequence[float | None]) -> str:
    """Thresholds of the early exits: "thresholds 0.9000, none"."""
    return "thresholds " + ", ".join("none" if t is None else f"{t:.4f}" for t in thresholds)


def rate_text(rate: float, interval: tuple[float, float] | None) -> str:
    """A rate with its interval: "0.8100 (0.7957 to 0.8236)"."""
    return f"{rate:.4f}" + ("" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})")

"""Models and sessions: inference."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import os
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np

from . import _core
from ._answers import Answer, Answers
from ._core import Cancellation, Stop
from ._texts import exits_text, thresholds_text

StopLike = Stop | float | str | None

_END = object()  # of an iterable
_LATE = object()


@dataclasses.dataclass(slots=True, frozen=True)
class Guarantee:
    """The certified bound on a policy's errors, and whether it is in force: with probability at
    least 1 - `delta` over the draw of the certify images, the rate of the event `of` on images of
    the same distribution is at most `epsilon`.

    Attributes:
        of: "harm" (the last exit classifies an image correctly and the policy does not) or
            "disagreement" (the policy and the last exit predict different classes).
        epsilon: bound on the rate, in (0, 1).
        delta: probability that the certificate is wrong, in (0, 1).
        in_force: True, False, or None where something could not be checked yet, such as drift after
            few images.
        why: one line that says why it is not in force, or why that is not known; else empty.
        against: what the policy's answers are compared with: "last_exit", or "ensemble" of all
            exits.
        disagreement: bound on the rate of images for which the policy and `against` predict
            different classes, certified together with the other one; None if the file holds none.
    """

    of: str
    epsilon: float
    delta: float
    in_force: bool | None
    why: str
    against: str = "last_exit"
    disagreement: float | None = None

    def __repr__(self) -> str:
        known = {True: "in force", False: "not in force", None: "not known to be in force"}
        against = "" if self.against == "last_exit" else f" against the {self.against}"
        why = f": {self.why}" if self.why else ""
        return (
            f"Guarantee({self.of}{against} ≤ {self.epsilon:g} with probability ≥ "
            f"{1 - self.delta:g}; {known[self.in_force]}{why})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class PolicyStep:
    """One of the policies that were tested for a model's certificate.

    Attributes:
        thresholds: of the early exits; None: never stops there.
        accuracy: on the tune images.
        relative_cost: mean, on the tune images.
        certified: whether `Stop.at_step` takes it.
    """

    thresholds: list[float | None]
    accuracy: float
    relative_cost: float
    certified: bool

    def __repr__(self) -> str:
        certified = "certified" if self.certified else "not certified"
        return (
            f"PolicyStep({thresholds_text(self.thresholds)}, accuracy {self.accuracy:.4f} at "
            f"relative cost {self.relative_cost:.3f}, {certified})"
        )


@dataclasses.dataclass(slots=True, frozen=True, eq=False)
class Stats:
    """What a session has answered so far; images with an error do not count.

    Attributes:
        images: how many.
        exits: int64 [K], images that stopped at each exit.
        shares: float64 [K], these divided by `images`.
        macs: multiply-accumulates of all of them.
        relative_cost: mean over the images.
        drift: "unknown" (fewer than 200 images, or nothing to compare with), "none", or "drifted":
            the last few thousand images stop at other exits than those of the calibration.
        recent_shares: float64 [K], of the last few thousand images.
        calibrated_shares: float64 [K], of the calibration; empty if the file has none.
        calibrated_images: number of images of the calibration.
        drift_distance: share of the images that stop at other exits.
        drift_p_value: probability of such a difference by chance.
    """

    images: int
    exits: np.ndarray
    shares: np.ndarray
    macs: int
    relative_cost: float
    drift: str
    recent_shares: np.ndarray
    calibrated_shares: np.ndarray
    calibrated_images: int
    drift_distance: float
    drift_p_value: float

    def __repr__(self) -> str:
        if self.images == 0:
            return "Stats(0 images)"
        drift = self.drift
        if self.drift != "unknown":
            drift += f", {100 * self.drift_distance:.1f} % of the images stop at other exits"
        return (
            f"Stats({self.images} images; {exits_text(self.exits)}; mean relative cost "
            f"{self.relative_cost:.3f}; drift: {drift})"
        )


def _with_limits(stop: StopLike, deadline_ms: float | None, by_default: Stop | None) -> StopLike:
    if deadline_ms is None:
        return stop
    if stop is None:
        return by_default.and_within(deadline_ms) if by_default else Stop.within(deadline_ms)
    return _core.to_stop(stop).and_within(deadline_ms)


class Model:
    """A network ready to run on this CPU; `offramp.load` makes one.

    Any number of threads may use a model, each through a session of its own. It can be closed by
    `close` or used in a ``with`` statement. A pickled model is the path and the options of `load`:
    the process that unpickles it loads the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        precision: str = "auto",
        threads: int = 0,
        batch: int = 8,
    ):
        self._options = (precision, threads, batch)
        if not isinstance(precision, str):
            raise TypeError(f"precision: expected a str, got {type(precision).__name__}")
        self._core = _core.Model(os.fsdecode(path), precision, threads, batch)
        self._path = self._core.path
        self._classes = self._core.classes()
        self._default = Stop.by_policy() if self._core.has_policy() else Stop.never()

    def session(
        self,
        stop: StopLike = None,
        *,
        deadline_ms: float | None = None,
        probabilities: bool = False,
        max_pixels: int | None = None,
    ) -> Session:
        """A session: runs the model on images.

        Args:
            stop: when images stop: "policy", "never", a threshold in [0, 1], or a `Stop`. None: by
                the model's policy, or at the last exit if it has none.
            deadline_ms: answers are the best so far after this many milliseconds.
            probabilities: answers hold the probabilities of all classes.
            max_pixels: larger images are refused before memory is allocated for them, 1 to 2^27;
                None: 2^27.

        Raises:
            ValueError: a rule that makes no sense for this model.
        """
        return Session(self, stop, deadline_ms, probabilities, max_pixels)

    def async_session(self, stop: StopLike = None, **options: Any) -> AsyncSession:
        """A session for asyncio; arguments as those of `session`."""
        return AsyncSession(self.session(stop, **options))

    def close(self) -> None:
        """Closes the model: it and its sessions raise `Error` from now on."""
        self._core.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process loads the same file, with its own CPU's instructions.
        return Model, (self._path, *self._options)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The file that was loaded."""
        return self._path

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by class index."""
        return list(self._classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the network's input; other images are resized to it."""
        return self._core.size()

    @property
    def num_exits(self) -> int:
        """Number of exits, the last one included."""
        return len(self._core.macs())

    @property
    def macs(self) -> np.ndarray:
        """int64 [K]: multiply-accumulates of an image that stops at each exit."""
        return self._core.macs()

    @property
    def relative_costs(self) -> np.ndarray:
        """float64 [K]: `macs` divided by those of the plain network, without early exits."""
        return self._core.relative_costs()

    @property
    def has_policy(self) -> bool:
        """Whether the file says when to stop."""
        return self._core.has_policy()

    @property
    def criterion(self) -> str | None:
        """The criterion of the policy: "confidence", "entropy", "margin" or "patience"; None if the
        file has no policy."""
        return self._core.criterion() or None

    @property
    def policy_path(self) -> list[PolicyStep]:
        """The policies that were tested for the certificate, each stopping earlier than the one
        before; empty if the file has none. `Stop.at_step` takes those up to `chosen_step`."""
        return [PolicyStep(*step) for step in self._core.policy_path()]

    @property
    def chosen_step(self) -> int | None:
        """Index in `policy_path` of the model's policy; None without a path."""
        return self._core.chosen_step()

    def guarantee(self, *, check: bool = True) -> Guarantee | None:
        """The certificate of the policy, and whether it is in force for the precision and the
        kernels that run here. None if the policy has none.

        Args:
            check: the first call checks the weights against the certified ones; for an int8 file it
                also runs the images that the file stores (64 as a rule), which must get the
                certified logits, bit for bit. False: without that work; `Guarantee.in_force` is
                then None until a call with True.
        """
        values = self._core.guarantee(check)
        return None if values is None else Guarantee(*values)

    def stats_of(self, exits: Any) -> Stats:
        """The statistics of images that were classified elsewhere, for example by many workers.

        The counts of several workers are merged exactly by adding them. Unlike in a session, all
        images have the same weight in the comparison with the calibration, which assumes that the
        policy alone stopped them.

        Args:
            exits: [K], number of images that stopped at each exit: the sum of `Stats.exits` of the
                workers, or ``numpy.bincount(answers.exit, minlength=K + 1)[1:]``.

        Raises:
            ValueError: not one whole number of at least 0 for each exit.
        """
        counts = np.asarray(exits)
        macs = self.macs
        if counts.shape != macs.shape or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise _core.UsageError(
                f"exits: expected a number of images for each of {len(macs)} exits, got "
                f"{counts.tolist()}"
            )
        counts = counts.astype(np.int64)
        images = int(counts.sum())
        shares = counts / max(images, 1)
        spent = int((counts * macs).sum())
        plain = round(int(macs[-1]) / float(self.relative_costs[-1]))
        calibrated = self.session().stats()
        drift, p_value, distance = "unknown", 1.0, 0.0
        if images > 0 and len(calibrated.calibrated_shares) > 0:
            drift, p_value, distance = _core.compare_exits(
                shares, images, calibrated.calibrated_shares, calibrated.calibrated_images
            )
        return Stats(
            images, counts, shares, spent, spent / max(images, 1) / plain, drift, shares,
            calibrated.calibrated_shares, calibrated.calibrated_images, distance, p_value,
        )  # fmt: skip

    @property
    def precision(self) -> str:
        """That the network runs in: "f32", "bf16" or "int8"."""
        return self._core.precision()

    @property
    def threads(self) -> int:
        """Threads that share the work of all sessions."""
        return self._core.threads()

    @property
    def notes(self) -> list[str]:
        """Remarks, one line each: another precision than asked for, a certificate that is not in
        force. Often empty."""
        return self._core.notes()

    def __repr__(self) -> str:
        if self._core.closed:
            return f"Model({self._path!r}, closed)"
        channels, height, width = self.input_shape
        costs = ", ".join(f"{cost:.3f}" for cost in self.relative_costs)
        return (
            f"Model({self._path!r}: {len(self._classes)} classes, input [{channels}, {height}, "
            f"{width}], exits at relative costs {costs}, {self.precision}, "
            f"{self.threads} threads)"
        )


class Session:
    """Runs a model on images; `Model.session` makes one. Threads that share a session take turns.

    An image is a path, the bytes of a JPEG, PNG, WebP or BMP file, a uint8 array [height, width, 3]
    (numpy, torch, or any array of the DLPack or buffer protocol; read in place if it has no gaps),
    a PIL image, or the network's own input, float32 [channels, height, width], normalised.
    """

    def __init__(
        self,
        model: Model,
        stop: StopLike,
        deadline_ms: float | None,
        probabilities: bool,
        max_pixels: int | None,
    ):
        self._model = model
        self._default = model._default
        stop = _with_limits(stop, deadline_ms, self._default)
        self._core = _core.Session(model._core, stop, probabilities, max_pixels)
        self._classes = model._classes

    @property
    def model(self) -> Model:
        """The model that is run."""
        return self._model

    def classify(
        self,
        images: Any,
        *,
        stop: StopLike = None,
        deadline_ms: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Any:
        """Classifies one image or many.

        Args:
            images: an image; or many: a list of images, a uint8 array [N, height, width, 3], or a
                float32 array [N, channels, height, width] of the network's own input.
            stop: a rule for these images instead of the session's; see `Model.session`.
            deadline_ms: counted from this call, for each of the images.
            cancellation: withdraws the images when it is cancelled by another thread.

        Returns:
            An `Answer` for one image; `Answers` for many. One of many images that cannot be
            decoded has an ``error``, the others are not affected.

        Raises:
            FileNotFoundError: there is no such file (of one image).
            ValueError: an array of another dtype, shape or device, a rule that makes no sense.
            TypeError: not an image.
            Error: one image cannot be decoded; the model is closed.
        """
        if deadline_ms is not None:
            stop = _with_limits(stop, deadline_ms, self._default)
        values = self._core.classify(images, stop, cancellation)
        if isinstance(values[0], int):
            return self._answer(values, 0)
        return Answers(*values, self._classes)

    def logits(self, images: Any) -> np.ndarray:
        """Logits of all exits, float32 [K, N, classes]: the whole network runs, whatever the rule.

        Args:
            images: as those of `classify`; N is 1 for one image.

        Raises:
            Error: an image cannot be used.
        """
        return self._core.logits(images)

    def stream(
        self,
        images: Iterable[Any],
        *,
        in_order: bool = True,
        flush_after_ms: float = 0,
        max_pending: int = 4096,
    ) -> Iterator[Answer]:
        """Classifies images as they come, with bounded memory; yields an `Answer` for each. A
        session has one stream at a time: once another one was begun, this one raises `UsageError`.

        Args:
            images: an iterable of images, each as for `classify`.
            in_order: answers come in the order of the images; else as they finish. `Answer.id` is
                the number of the image, from 0.
            flush_after_ms: an image waits at most this long for others to fill a batch; 0: until
                a batch is full or the images end. It is looked at when the next image comes.
            max_pending: images taken and not yet answered, at most.
        """
        _check_many(images)
        stream = self._core.begin_stream(in_order, flush_after_ms, max_pending)
        finished = False
        try:
            for number, image in enumerate(images):
                for id, values in self._core.push(stream, number, image, None):
                    yield self._answer(values, id)
            for id, values in self._core.flush(stream):
                yield self._answer(values, id)
            finished = True
        finally:
            if not finished:
                self._core.drop_stream(stream)

    def stats(self) -> Stats:
        """What the session has answered so far, and whether the images have drifted."""
        return Stats(*self._core.stats())

    def reset_stats(self) -> None:
        """Forgets the statistics."""
        self._core.reset_stats()

    def guarantee(self, *, check: bool = True) -> Guarantee | None:
        """The model's certificate, and whether it is in force for this session's answers: what
        `Model.guarantee` says, the session's rule, which must be the policy alone, and drift. None
        if the model has no certificate. `check` is that of `Model.guarantee`.
        """
        values = self._core.guarantee(check)
        return None if values is None else Guarantee(*values)

    def _answer(self, values: tuple[Any, ...], id: int) -> Answer:
        index, probability, exit, cost, macs, limited, probabilities, error = values
        if error is not None:
            return Answer(-1, None, float("nan"), 0, float("nan"), 0, False, None, error, id)
        return Answer(
            index, self._classes[index], probability, exit, cost, macs, limited, probabilities,
            None, id,
        )

    def __repr__(self) -> str:
        if self._model._core.closed:
            return f"Session({self._model!r})"
        return f"Session({self._model!r}; {self.stats().images} images so far)"


def _check_many(images: Any) -> None:
    if isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike)):
        kind = type(images).__name__
        raise TypeError(f"stream: expected an iterable of images, got one image, of type {kind}")


class _Reader:
    """Reads an iterator in a thread that does not keep Python from exiting, as one of an executor
    would whose image never comes."""

    def __init__(self, iterator: Iterator[Any]):
        self._iterator = iterator
        self._wanted: queue.SimpleQueue[concurrent.futures.Future[Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="offramp-images", daemon=True).start()

    def next(self) -> asyncio.Future[Any]:
        """The next image; _END after the last."""
        wanted: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._wanted.put(wanted)
        return asyncio.wrap_future(wanted)

    def close(self) -> None:
        """Ends the thread, after the image that it waits for."""
        self._wanted.put(None)

    def _run(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            if not wanted.set_running_or_notify_cancel():
                continue
            try:
                wanted.set_result(next(self._iterator, _END))
            except BaseException as error:
                wanted.set_exception(error)
            del wanted  # not kept while the next one is waited for


class _Source:
    """Images of an iterable or an asynchronous iterable, for an event loop that goes on while the
    next one is waited for."""

    def __init__(self, images: AsyncIterable[Any] | Iterable[Any]):
        self._coming: asyncio.Future[Any] | None = None
        self._reader: _Reader | None = None
        self._has_all = False
        if isinstance(images, AsyncIterable):
            self._iterator: Any = images.__aiter__()
            return
        self._iterator = iter(images)
        # Others with a length may read or compute their images as these are taken.
        self._has_all = isinstance(images, (list, tuple, np.ndarray))
        if not self._has_all:
            self._reader = _Reader(self._iterator)

    async def next(self, timeout: float | None) -> Any:
        """The next image; _END after the last, _LATE if it does not come within `timeout`."""
        if self._has_all:
            return next(self._iterator, _END)
        if self._coming is None:
            if self._reader is None:
                self._coming = asyncio.ensure_future(anext(self._iterator, _END))
            else:
                self._coming = self._reader.next()
        done, _ = await asyncio.wait([self._coming], timeout=timeout)
        if not done:
            return _LATE
        coming, self._coming = self._coming, None
        return coming.result()

    def close(self) -> None:
        """Does not wait for an image that still comes."""
        if self._coming is not None:
            self._coming.cancel()
        if self._reader is not None:
            self._reader.close()


class AsyncSession:
    """A session for asyncio: calls run on a thread of its own, one after the other, and the event
    loop goes on. `Model.async_session` makes one; close it, or use it in ``async with``."""

    def __init__(self, session: Session):
        self._session = session
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "offramp-session")

    @property
    def session(self) -> Session:
        """The session that runs."""
        return self._session

    async def classify(self, images: Any, **options: Any) -> Any:
        """As `Session.classify`. A task that is cancelled withdraws its images."""
        withdrawn = Cancellation()
        call = asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: self._session.classify(images, cancellation=withdrawn, **options),
        )
        try:
            return await call
        except asyncio.CancelledError:
            withdrawn.cancel()
            raise

    async def logits(self, images: Any) -> np.ndarray:
        """As `Session.logits`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._session.logits, images
        )

    async def stream(
        self,
        images: AsyncIterable[Any] | Iterable[Any],
        *,
        in_order: bool = True,
        flush_after_ms: float = 20,
        max_pending: int = 4096,
    ) -> AsyncIterator[Answer]:
        """As `Session.stream`, of an iterable or an asynchronous iterable. While no image comes,
        those that have waited for `flush_after_ms` are run. An iterable other than a list, a tuple
        or an array, such as a generator or a data loader, is read by a thread of its own, so it may
        wait for its images."""
        _check_many(images)
        loop = asyncio.get_running_loop()
        core = self._session._core

        async def call(function: Any, *arguments: Any) -> list[Answer]:
            pairs = await loop.run_in_executor(self._thread, function, *arguments)
            return [self._session._answer(values, id) for id, values in pairs]

        stream = await loop.run_in_executor(
            self._thread, core.begin_stream, in_order, flush_after_ms, max_pending
        )
        finished = False
        source = _Source(images)
        try:
            number = 0
            while True:
                while (image := await source.next(core.due_in())) is _LATE:
                    for answer in await call(core.poll, stream):
                        yield answer
                if image is _END:
                    break
                for answer in await call(core.push, stream, number, image, None):
                    yield answer
                number += 1
            for answer in await call(core.flush, stream):
                yield answer
            finished = True
        finally:
            source.close()
            if not finished:
                await loop.run_in_executor(self._thread, core.drop_stream, stream)

    def __repr__(self) -> str:
        return f"Async{self._session!r}"

    def close(self) -> None:
        """Ends the thread, after the call that runs, for which it waits. ``async with`` waits
        without blocking the event loop."""
        self._thread.shutdown()

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)


def load(
    path: str | os.PathLike[str],
    precision: str = "auto",
    threads: int = 0,
    *,
    batch: int = 8,
) -> Model:
    """Loads a model file and makes it ready for this CPU.

    Args:
        path: a model file of offramp, or a run folder that holds ``model.safetensors``.
        precision: "f32", "bf16", "int8" (of a file that was quantized), or "auto", which
            docs/deployment.md describes. A CPU without the instructions runs the next wider one;
            `Model.notes` says so.
        threads: that share the work of all sessions; 0: one for each core.
        batch: images that run through the network together on each thread, 1 to 1024.

    Raises:
        FileNotFoundError: there is no such file.
        Error: the file is not a model, or is damaged; a folder holds none.
        ValueError: options that make no sense.
    """
    return Model(path, precision, threads, batch)

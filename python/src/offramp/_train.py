"""Training and the choice of exits, by the program, which alone needs LibTorch."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ._core import Error, UsageError
from ._progress import Bar

_SECONDS_BETWEEN_LOOKS = 0.2
_STAGES = ("heads", "joint")  # folders of the two trainings in which exits are chosen
_ARGUMENTS = {
    "resume": "resume=True",
    "out": "out",
    "set": "settings",
    "max-accuracy-drop": "max_accuracy_drop",
    "max-cost": "max_cost",
    "guarantee": "guarantee",
    "delta": "delta",
    "label-free": "label_free",
    "criterion": "criterion",
    "then": "joint_epochs",
}
_FLAG = re.compile(rf"(?<!\S)--({'|'.join(_ARGUMENTS)})(?=[:;,.]?(?:\s|$))")  # not in paths


@dataclasses.dataclass(slots=True, frozen=True)
class Epoch:
    """The results of one epoch of training.

    Attributes:
        epoch: from 1.
        epochs: of the whole run.
        loss: mean over the training steps.
        train_accuracy: list [K], of each exit on the augmented training images.
        tune_accuracy, tune_nll: list [K], of each exit on the tune images.
        learning_rate: at the end of the epoch.
        images_per_second: of training.
        seconds: of training since the start of the run, without interruptions.
        loader_wait: share of the time in which training waited for images.
        best: whether it is the best on the tune images so far.
        stage: where exits are chosen, the training that it is of: "heads", of heads at all places,
            or "joint", of the network with the chosen exits; else empty.
    """

    epoch: int
    epochs: int
    loss: float
    train_accuracy: list[float]
    tune_accuracy: list[float]
    tune_nll: list[float]
    learning_rate: float
    images_per_second: float
    seconds: float
    loader_wait: float
    best: bool
    stage: str = ""

    def __repr__(self) -> str:
        tune = " / ".join(f"{accuracy:.3f}" for accuracy in self.tune_accuracy)
        best = ", the best so far" if self.best else ""
        stage = f" of {self.stage}" if self.stage else ""
        return (
            f"Epoch({self.epoch} of {self.epochs}{stage}: loss {self.loss:.3f}, tune accuracy "
            f"{tune}{best})"
        )


@dataclasses.dataclass(slots=True, frozen=True)
class Trained:
    """A run of training that is finished.

    Attributes:
        folder: of the run.
        model: the model file, of the best epoch on the tune images; of the last epoch where heads
            alone were trained to choose exits.
        epochs: of the run, those before an interruption included.
    """

    folder: str
    model: str
    epochs: list[Epoch]

    @property
    def best(self) -> Epoch | None:
        """The epoch that the model is of."""
        if self.epochs and self.epochs[-1].stage == "heads":
            return self.epochs[-1]
        return next((one for one in reversed(self.epochs) if one.best), None)

    def __repr__(self) -> str:
        return f"Trained({self.model!r}, {len(self.epochs)} epochs, best: {self.best})"


def train(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    resume: bool = False,
    progress: Callable[[Epoch], None] | bool = False,
    note: Callable[[str], None] | None = None,
    program: str | os.PathLike[str] | None = None,
) -> Trained:
    """Trains a network from a recipe: ``offramp train``, which must be installed.

    Ctrl-C, or an exception raised by `progress` or `note`, stops the training after its current
    step and saves it; then the exception goes on. ``resume=True`` continues such a run. A second
    Ctrl-C ends the program at once. Where Python itself is killed, the program goes on to the end of
    the run.

    Args:
        recipe: a file of TOML, or its content: a dict of tables, such as
            ``{"network": {"exits": [2, 4]}, "train": {"epochs": 6}}``. None: with `resume`.
        out: the folder of the run; see docs/training.md for its files.
        data: the data set, instead of the recipe's ``data.source``.
        settings: keys of the recipe to override, such as ``{"train.lr": 0.05}``.
        threads: 0: one for each core; None: those of the recipe.
        resume: continues the run in `out`, with its recipe.
        progress: called with an `Epoch` after each one, or True for a bar of tqdm where it is
            installed. With ``exits = "auto"``, the choice between the two trainings has none.
        note: called with each line that the program prints.
        program: the program ``offramp``; None: the one on the PATH.

    Raises:
        FileNotFoundError: there is no such recipe or program.
        ValueError: a recipe or settings that make no sense.
        Error: the program is not installed or failed; `out` holds another run.
    """
    if (recipe is None) != resume:
        raise UsageError("train: expected either a recipe, or resume=True with the folder of a run")
    if resume and settings:
        raise UsageError("settings: the recipe of a run that is continued cannot be changed")
    folder = pathlib.Path(os.fsdecode(out))
    arguments = [_find_program(program), "train"]
    with contextlib.ExitStack() as stack:
        if recipe is not None:
            arguments.append(stack.enter_context(_recipe_file(recipe)))
        arguments += ["--out", os.fsdecode(out)]
        if resume:
            arguments.append("--resume")
        if data is not None:
            arguments += ["--data", os.fsdecode(data)]
        if threads is not None:
            arguments += ["--threads", str(int(threads))]
        arguments += _set_flags(settings)
        how = f"offramp.train(resume=True, out={str(folder)!r})"
        with _EpochBar(progress) as bar:
            _follow(arguments, folder, resume, bar.report, note, how)
    return Trained(str(folder), str(folder / "model.safetensors"), _Metrics(folder).epochs())


@dataclasses.dataclass(slots=True, frozen=True)
class FoundExits:
    """The exits that were chosen for a network.

    Attributes:
        folder: of the result; docs/exits.md has its files.
        model: the model file, with the chosen exits and its policy.
        result: what was found, the content of ``exits.json``; docs/command-line.md has its keys.
        epochs: of the trainings.
    """

    folder: str
    model: str
    result: dict[str, Any]
    epochs: list[Epoch]

    def __repr__(self) -> str:
        chosen = self.result["chosen"]
        places = ", ".join(f"{one['head']} after {one['after']}" for one in chosen["exits"])
        return (
            f"FoundExits({self.model!r}: {places or 'no early exit'}, at relative cost "
            f"{chosen['relative_cost']:.3f})"
        )


def exits(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    max_accuracy_drop: float | None = None,
    max_cost: float | None = None,
    guarantee: float | None = None,
    delta: float = 0.05,
    label_free: bool = False,
    criterion: str = "confidence",
    cost: str = "macs",
    heads: Sequence[str] = ("spp", "conv-spp"),
    max_exits: int = 0,
    joint_epochs: int = 0,
    settings: Mapping[str, Any] | None = None,
    threads: int = 0,
    progress: Callable[[Epoch], None] | bool = False,
    note: Callable[[str], None] | None = None,
    program: str | os.PathLike[str] | None = None,
) -> FoundExits:
    """Adds exits to a trained network where they save most: ``offramp exits``, which must be installed.

    Ctrl-C and exceptions are as those of `train`; the same call continues what is in `out`.

    Args:
        model: the model file, or a run folder.
        data: the data set that it was trained on, as the program takes it.
        out: the folder for the result.
        max_accuracy_drop, max_cost, guarantee: the aim, one of them, with `delta`, `label_free` and
            `criterion` as in `calibrate`.
        cost: "macs", or "ms" measured on this machine.
        heads: kinds of heads to try at every place.
        max_exits: the largest number of early exits; 0: no limit.
        joint_epochs: of a training of the whole network with the chosen exits; 0: none.
        settings: keys of the recipe of the heads to override, such as ``{"train.epochs": 5}``.
        threads: 0: one for each core.
        progress, note, program: as those of `train`.

    Raises:
        FileNotFoundError: there is no such model or program.
        ValueError: options that make no sense.
        Error: the program is not installed or failed.
    """
    path = os.fsdecode(model)
    if not os.path.exists(path):
        raise FileNotFoundError(2, "No such model", path)
    folder = pathlib.Path(os.fsdecode(out))
    arguments = [_find_program(program), "exits", path, "--data", os.fsdecode(data)]
    arguments += ["--out", str(folder), "--criterion", criterion, "--cost", cost]
    arguments += ["--heads", ",".join(heads), "--max-exits", str(int(max_exits))]
    arguments += ["--threads", str(int(threads))]
    for flag, value in (
        ("--max-accuracy-drop", max_accuracy_drop),
        ("--max-cost", max_cost),
        ("--guarantee", guarantee),
        ("--delta", None if guarantee is None else delta),
    ):
        if value is not None:
            arguments += [flag, repr(float(value))]
    if label_free:
        arguments.append("--label-free")
    if joint_epochs:
        arguments += ["--then", "joint", "--epochs", str(int(joint_epochs))]
    arguments += _set_flags(settings)
    with _EpochBar(progress) as bar:
        _follow(arguments, folder, True, bar.report, note, "the same call of offramp.exits")
    result = json.loads((folder / "exits.json").read_text(encoding="utf-8"))
    epochs = _Metrics(folder).epochs()
    return FoundExits(str(folder), str(folder / "model.safetensors"), result, epochs)


def _set_flags(settings: Mapping[str, Any] | None) -> list[str]:
    flags = []
    for key, value in (settings or {}).items():
        text = value if isinstance(value, str) else _toml(value, key)
        flags += ["--set", f"{key}={text}"]
    return flags


def _find_program(program: str | os.PathLike[str] | None) -> str:
    if program is not None:
        path = os.path.abspath(os.fsdecode(program))
        if not os.path.exists(path):
            raise FileNotFoundError(2, "No such program", path)
        return path
    found = shutil.which("offramp")
    if found is None:
        raise Error(
            "train: the program offramp is not on the PATH; it is not part of the Python package: "
            "build it in a clone with ./quickstart, and pass program=\"build/release/offramp\""
        )
    return found


@contextlib.contextmanager
def _recipe_file(recipe: str | os.PathLike[str] | Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(recipe, Mapping):
        path = os.fsdecode(recipe)
        if not os.path.exists(path):
            raise FileNotFoundError(2, "No such recipe", path)
        yield path
        return
    lines = [f"{key} = {_toml(value, key)}" for key, value in recipe.items() if not _is_table(value)]
    for table, keys in recipe.items():
        if _is_table(keys):
            lines.append(f"[{table}]")
            lines += [f"{key} = {_toml(value, f'{table}.{key}')}" for key, value in keys.items()]
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "recipe.toml")
        pathlib.Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield path


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _toml(value: Any, key: str) -> str:
    """A value as TOML."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(one, key) for one in value) + "]"
    raise TypeError(f"{key}: {type(value).__name__} is no value of a recipe")


class _Metrics:
    """The file metrics.jsonl of a run, which grows by a line an epoch, or those of the trainings of
    a folder in which exits are chosen."""

    def __init__(self, folder: pathlib.Path):
        self._paths = {stage: folder / stage / "metrics.jsonl" for stage in ("", *_STAGES)}
        self._seen: set[tuple[str, str]] = set()

    def _lines(self) -> list[tuple[str, str]]:
        """(stage, line) of all whole lines."""
        lines = []
        for stage, path in self._paths.items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                text = path.read_text(encoding="utf-8")
                lines += [(stage, line) for line in text.split("\n")[:-1]]
        return lines

    def epochs(self) -> list[Epoch]:
        """All epochs."""
        return [epoch for line in self._lines() if (epoch := _epoch_of(*line)) is not None]

    def new(self) -> list[Epoch]:
        """The epochs that were not there at the call before."""
        # A run that goes on may do an epoch again, whose line then differs by its times.
        lines = [line for line in self._lines() if line not in self._seen]
        self._seen.update(lines)
        return [epoch for line in lines if (epoch := _epoch_of(*line)) is not None]


def _epoch_of(stage: str, line: str) -> Epoch | None:
    try:
        values = json.loads(line) | {"stage": stage}
        return Epoch(**{field.name: values[field.name] for field in dataclasses.fields(Epoch)})
    except (ValueError, TypeError, KeyError):
        return None


class _EpochBar(Bar):
    def __init__(self, progress: Callable[[Epoch], None] | bool):
        super().__init__(progress)
        if self.bar is not None:
            self.report = self._epoch

    def _epoch(self, epoch: Epoch) -> None:
        self._step(epoch.epoch, epoch.epochs, "epochs")
        self.bar.set_postfix_str(f"tune accuracy {epoch.tune_accuracy[-1]:.3f}")


def _follow(
    arguments: list[str],
    folder: pathlib.Path,
    resume: bool,
    report: Callable[[Epoch], None] | None,
    note: Callable[[str], None] | None,
    how: str,
) -> None:
    """Runs the program to its end.

    Args:
        how: the call that continues what was interrupted.
    """
    metrics = _Metrics(folder)
    if resume:
        metrics.new()
    last_lines: collections.deque[str] = collections.deque(maxlen=20)
    program = _Program(arguments)
    try:
        program.start()
        ended = False
        while not ended:
            with contextlib.suppress(queue.Empty):
                line = program.lines.get(timeout=_SECONDS_BETWEEN_LOOKS)
                ended = line is None
                if not ended:
                    last_lines.append(line)
                    if note is not None:
                        note(line)
            if report is not None and (ended or program.lines.empty()):
                for epoch in metrics.new():
                    report(epoch)
        status = program.wait()
    except BaseException as error:
        program.stop()
        if any((folder / stage / "checkpoint.safetensors").exists() for stage in ("", *_STAGES)):
            error.add_note(f"The run is saved; {how} continues it.")
        raise
    if status != 0:
        raise _failure(arguments[1], status, last_lines, how)


class _Program:
    """The program and the processes that it starts, whose lines are read by a thread.

    Attributes:
        lines: that were printed; None once no process can print any more.
    """

    def __init__(self, arguments: list[str]):
        self._arguments = arguments
        self._process = concurrent.futures.Future[subprocess.Popen[str]]()
        self._thread = threading.Thread(target=self._run, name="offramp-train", daemon=True)
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def start(self) -> None:
        self._thread.start()
        try:
            self._process.result()
        except OSError as error:
            raise Error(f"{self._arguments[0]}: cannot start: {error.strerror}") from None

    def _run(self) -> None:
        # A Ctrl-C, which is raised in the main thread, cannot come between the start of the process
        # and the moment from which it is known. In a session of its own the program does not get
        # the terminal's Ctrl-C, of which a second one would end it before it has saved.
        try:
            process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except BaseException as error:
            self._process.set_exception(error)
            return
        self._process.set_result(process)
        with process.stderr:
            for line in process.stderr:
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait(self) -> int:
        """Waits for the end. Returns the exit status."""
        return self._process.result().wait()

    def stop(self) -> None:
        """Ends all its processes after the step that they are in; at once if Ctrl-C is pressed
        meanwhile."""
        if self._thread.ident is None or self._process.exception() is not None:
            return  # it was not started
        # The second signal ends it at once.
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(KeyboardInterrupt):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.result().pid, number)
                self._thread.join()
                self.wait()
                return


def _failure(command: str, status: int, lines: collections.deque[str], how: str) -> Error:
    if status < 0:
        return Error(f"{command}: the program was ended by signal {-status}")
    if lines and lines[-1].startswith("stopped and saved"):
        return Error(f"{command}: the program was stopped and has saved the run; {how} continues it")
    last = lines[-1] if lines else f"{command}: ended with status {status}"
    text = last.removeprefix("offramp: ")
    text = _FLAG.sub(lambda flag: _ARGUMENTS[flag[1]], text)
    return UsageError(text) if status == 2 else Error(text)

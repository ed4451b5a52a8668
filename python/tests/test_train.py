"""Training, by a program that pretends and by the real one where it was built."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import program
import pytest

import offramp


def write_program(path, body):
    path.write_text(
        f"#!{sys.executable}\n" + textwrap.dedent(body), encoding="utf-8"
    )
    path.chmod(0o755)
    return path


@pytest.fixture()
def pretender(tmp_path):
    """Writes its arguments and its recipe, then an epoch every 50 ms until it is stopped."""
    return write_program(
        tmp_path / "offramp",
        """
        import json, os, pathlib, shutil, signal, sys, time
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        arguments = sys.argv[1:]
        out = pathlib.Path(arguments[arguments.index("--out") + 1])
        out.mkdir(exist_ok=True)
        (out / "arguments.json").write_text(json.dumps(arguments))
        if not arguments[1].startswith("--"):
            shutil.copy(arguments[1], out / "recipe.toml")
        (out / "checkpoint.safetensors").touch()
        epochs = 3 if "--data" in arguments else 1000
        for epoch in range(1, epochs + 1):
            line = {"epoch": epoch, "epochs": epochs, "loss": 1 / epoch, "train_accuracy": [0.5],
                    "tune_accuracy": [epoch / epochs], "tune_nll": [1.0], "learning_rate": 0.1,
                    "images_per_second": 10.0, "seconds": 1.0 * epoch, "loader_wait": 0.0,
                    "best": epoch == 2}
            with open(out / "metrics.jsonl", "a") as file:
                file.write(json.dumps(line) + "\\n")
            print("epoch", epoch, file=sys.stderr, flush=True)
            time.sleep(0.05)
            if stopped:
                (out / "saved").touch()
                print("stopped and saved", file=sys.stderr)
                sys.exit(1)
        """,
    )


def test_a_run_is_followed_to_its_end(pretender, tmp_path):
    epochs, lines = [], []
    recipe = {
        "comment": 'a "quoted" \\ word',
        "network": {"exits": [2, 4], "head": "spp"},
        "train": {"lr": np.float64(0.1), "flip": True, "epochs": 3},
    }
    trained = offramp.train(
        recipe, out=tmp_path / "run", data=tmp_path, threads=np.int64(1),
        settings={"train.epochs": 3, "exits": [1, 2], "network.head": "avg"},
        progress=epochs.append, note=lines.append, program=pretender,
    )  # fmt: skip
    assert [one.epoch for one in epochs] == [1, 2, 3] and epochs == trained.epochs
    assert trained.best == epochs[1] and trained.model == str(tmp_path / "run/model.safetensors")
    assert lines == ["epoch 1", "epoch 2", "epoch 3"]
    assert "3 epochs" in repr(trained) and "2 of 3" in repr(trained)
    arguments = json.loads((tmp_path / "run/arguments.json").read_text())
    assert arguments[0] == "train" and arguments[2:] == [
        "--out", str(tmp_path / "run"), "--data", str(tmp_path), "--threads", "1",
        "--set", "train.epochs=3", "--set", "exits=[1, 2]", "--set", "network.head=avg",
    ]  # fmt: skip
    tomllib = pytest.importorskip("tomllib")
    assert tomllib.loads((tmp_path / "run/recipe.toml").read_text()) == recipe
    assert not os.path.exists(arguments[1])  # a recipe of a dict is in a file that is gone


@pytest.mark.parametrize("raised_by", ["signal", "progress", "note"])
def test_an_exception_saves_the_run_and_goes_on(pretender, tmp_path, raised_by):
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0 if raised_by == "signal" else 0)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            offramp.train(
                {}, out=tmp_path / "run", program=pretender,
                progress=interrupt if raised_by == "progress" else False,
                note=interrupt if raised_by == "note" else None,
            )  # fmt: skip
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "run/saved").exists()
    assert "resume=True" in caught.value.__notes__[0]


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_program_inside_a_script_is_stopped_and_saves_too(pretender, tmp_path):
    script = tmp_path / "script.sh"
    script.write_text(f'#!/bin/sh\n"{pretender}" "$@"\nexit $?\n')
    script.chmod(0o755)
    with pytest.raises(KeyboardInterrupt) as caught:
        offramp.train({}, out=tmp_path / "run", program=script, progress=interrupt)
    assert (tmp_path / "run/saved").exists()
    assert "resume=True" in caught.value.__notes__[0]


def test_an_interruption_while_the_program_starts_stops_it(pretender, tmp_path, monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)
            while not (tmp_path / "run/checkpoint.safetensors").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # the main thread takes the signal before this call returns

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    # A shell's background job ignores the signal, and Python keeps it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            offramp.train({}, out=tmp_path / "run", program=pretender)
        assert (tmp_path / "run/saved").exists()
    finally:
        signal.signal(signal.SIGINT, before)
        for process in started:
            process.kill()


def test_a_run_that_goes_on_reports_new_epochs_alone(pretender, tmp_path):
    offramp.train({}, out=tmp_path / "run", data="x", program=pretender)
    metrics = tmp_path / "run/metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("10.0", "11.0"))  # other lines than new ones
    epochs = []
    trained = offramp.train(
        out=tmp_path / "run", resume=True, data="x", progress=epochs.append, program=pretender
    )
    assert [one.epoch for one in epochs] == [1, 2, 3]
    assert len(trained.epochs) == 6
    assert "--resume" in json.loads((tmp_path / "run/arguments.json").read_text())


@pytest.fixture()
def chooser(tmp_path):
    """Writes its arguments, two epochs of heads and, unless told to stop, one of the network."""
    return write_program(
        tmp_path / "offramp",
        """
        import json, pathlib, signal, sys, time
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        arguments = sys.argv[1:]
        out = pathlib.Path(arguments[arguments.index("--out") + 1])
        for stage, epochs in (("heads", 2), ("joint", 1)):
            (out / stage).mkdir(parents=True, exist_ok=True)
            (out / stage / "checkpoint.safetensors").touch()
            for epoch in range(1, epochs + 1):
                line = {"epoch": epoch, "epochs": epochs, "loss": 1 / epoch, "train_accuracy": [],
                        "tune_accuracy": [0.5], "tune_nll": [], "learning_rate": 0.1,
                        "images_per_second": 10.0, "seconds": time.monotonic(), "loader_wait": 0.0,
                        "best": epoch == 1}
                with open(out / stage / "metrics.jsonl", "a") as file:
                    file.write(json.dumps(line) + "\\n")
                time.sleep(0.05)
            if stopped or "--then" not in arguments and arguments[0] == "exits":
                break
        if stopped:
            print("stopped and saved; the same command continues", file=sys.stderr)
            sys.exit(1)
        chosen = {"exits": [{"after": "layer1", "head": "spp"}], "relative_cost": 0.5}
        (out / "exits.json").write_text(json.dumps({"chosen": chosen, "arguments": arguments}))
        """,
    )


def stages(epochs):
    return [(one.stage, one.epoch) for one in epochs]


def test_both_trainings_of_a_recipe_that_chooses_exits_are_followed(chooser, tmp_path):
    epochs = []
    trained = offramp.train({}, out=tmp_path / "run", program=chooser, progress=epochs.append)
    assert stages(epochs) == [("heads", 1), ("heads", 2), ("joint", 1)] and epochs == trained.epochs
    assert trained.best == epochs[2] and "of heads" in repr(epochs[0])
    assert offramp.Trained("", "", epochs[:2]).best == epochs[1]
    with pytest.raises(KeyboardInterrupt) as caught:
        offramp.train({}, out=tmp_path / "other", program=chooser, progress=interrupt)
    assert "resume=True" in caught.value.__notes__[0]


def test_exits_are_chosen_by_the_program(chooser, tmp_path):
    epochs = []
    (tmp_path / "plain").touch()
    found = offramp.exits(
        tmp_path / "plain", tmp_path, out=tmp_path / "run", guarantee=np.float32(0.5),
        label_free=True, settings={"train.epochs": 2}, program=chooser, progress=epochs.append,
    )  # fmt: skip
    assert stages(epochs) == [("heads", 1), ("heads", 2)] and found.epochs == epochs
    assert found.model == str(tmp_path / "run/model.safetensors") and "layer1" in repr(found)
    assert found.result["arguments"] == [
        "exits", str(tmp_path / "plain"), "--data", str(tmp_path), "--out", str(tmp_path / "run"),
        "--criterion", "confidence", "--cost", "macs", "--heads", "spp,conv-spp", "--max-exits", "0",
        "--threads", "0", "--guarantee", "0.5", "--delta", "0.05", "--label-free",
        "--set", "train.epochs=2",
    ]  # fmt: skip
    options = dict(max_cost=0.5, joint_epochs=1, program=chooser)
    found = offramp.exits(tmp_path / "plain", "x", out=tmp_path / "other", **options)
    assert found.result["arguments"][-6:] == [
        "--max-cost", "0.5", "--then", "joint", "--epochs", "1"
    ]  # fmt: skip
    with pytest.raises(KeyboardInterrupt) as caught:
        offramp.exits(
            tmp_path / "plain", "x", out=tmp_path / "third", progress=interrupt, **options
        )
    assert "the same call of offramp.exits" in caught.value.__notes__[0]
    with pytest.raises(FileNotFoundError):
        offramp.exits(tmp_path / "nowhere", "x", out=tmp_path / "run", program=chooser)


def test_a_bar_is_shown_where_tqdm_is(pretender, tmp_path, capsys):
    pytest.importorskip("tqdm")
    offramp.train({}, out=tmp_path / "run", data="x", progress=True, program=pretender)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("status, kind", [(1, offramp.Error), (2, ValueError)])
def test_what_the_program_says_last_is_the_error(tmp_path, status, kind):
    failing = write_program(
        tmp_path / "offramp",
        f"""
        import sys
        print("reading", file=sys.stderr)
        print("offramp: x: already holds a run; continue it with --resume, or choose another --out",
              file=sys.stderr)
        sys.exit({status})
        """,
    )
    message = "^x: already holds a run; continue it with resume=True, or choose another out$"
    with pytest.raises(kind, match=message):
        offramp.train({}, out=tmp_path / "run", program=failing)


def test_flags_in_paths_are_not_replaced(tmp_path):
    failing = write_program(
        tmp_path / "offramp",
        """
        import sys
        sys.exit("offramp: my--output.toml: no --set, --settings/a --out.toml; --out: --resume")
        """,
    )
    message = "^my--output.toml: no settings, --settings/a --out.toml; out: resume=True$"
    with pytest.raises(offramp.Error, match=message):
        offramp.train({}, out=tmp_path / "run", program=failing)


def test_a_program_that_is_killed_is_an_error(tmp_path):
    dying = write_program(tmp_path / "offramp", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(offramp.Error, match="signal 9"):
        offramp.train({}, out=tmp_path / "run", program=dying)


def test_what_is_missing_is_said(tmp_path, monkeypatch, pretender):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(offramp.Error, match="offramp is not on the PATH.*quickstart"):
        offramp.train({}, out=tmp_path / "run")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert len(offramp.train({}, out=tmp_path / "run", data="x").epochs) == 3
    for wrong, kind in (
        (dict(recipe={}, program=tmp_path / "nowhere"), FileNotFoundError),
        (dict(recipe=tmp_path / "nowhere.toml"), FileNotFoundError),
        (dict(recipe={}, program=tmp_path), offramp.Error),
        (dict(), ValueError),
        (dict(recipe={}, resume=True), ValueError),
        (dict(resume=True, settings={"train.lr": 1}), ValueError),
        (dict(recipe={"train": {"lr": None}}), TypeError),
        (dict(recipe={"train": {"lr": {}}}), TypeError),
    ):
        with pytest.raises(kind):
            offramp.train(out=tmp_path / "run", **wrong)


RECIPE = {
    "network": {"backbone": "resnet18", "stem": "cifar", "width": 4, "exits": [2]},
    "data": {"image_size": 32},
    "train": {"epochs": 3, "batch": 50, "lr": 0.05, "threads": 1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was stopped after its first epoch and continued: (folder, data, epochs)."""
    executable = program.find_with_training()
    folder = tmp_path_factory.mktemp("trained")
    data = program.write_image_folder(folder / "data", ["left", "right"], 100)

    def stop(epoch):
        raise InterruptedError(str(epoch.epoch))

    with pytest.raises(InterruptedError) as caught:
        offramp.train(RECIPE, out=folder / "run", data=data, progress=stop, program=executable)
    assert "resume=True" in caught.value.__notes__[0]
    trained = offramp.train(out=folder / "run", resume=True, program=executable)
    return folder / "run", data, trained


def test_a_network_is_trained_stopped_and_continued(run, tmp_path):
    folder, data, trained = run
    assert [one.epoch for one in trained.epochs] == [1, 2, 3]
    assert len(trained.best.tune_accuracy) == 2
    assert offramp.load(folder).classes == ["left", "right"]
    with pytest.raises(ValueError, match="already holds a run; continue it with resume=True"):
        offramp.train(RECIPE, out=folder, data=data, program=program.find())
    with pytest.raises(ValueError, match="unknown key"):
        offramp.train({"train": {"epoch": 3}}, out=tmp_path / "other", program=program.find())


def test_exits_of_a_trained_network_are_found(run, tmp_path):
    folder, data, _ = run
    options = dict(data=data, out=tmp_path / "exits", threads=1, program=program.find())
    with pytest.raises(ValueError, match="one of max_accuracy_drop, max_cost and guarantee$"):
        offramp.exits(folder, **options)
    found = offramp.exits(
        folder, max_cost=0.9, heads=["spp"], max_exits=1, settings={"train.epochs": 1}, **options
    )
    assert stages(found.epochs) == [("heads", 1)] and "relative cost" in repr(found)
    assert offramp.load(found.folder).num_exits == 1 + len(found.result["chosen"]["exits"])


def test_a_run_is_calibrated_and_quantized(run, tmp_path):
    folder, data, trained = run
    before = pathlib.Path(trained.model).read_bytes()

    for call in (offramp.calibrate, offramp.quantize):
        options = {"threshold": 0.5} if call is offramp.calibrate else {"precision": "bf16"}
        with pytest.raises(KeyboardInterrupt):
            call(folder, data, out=tmp_path / "none.safetensors", progress=interrupt, **options)
    assert not list(tmp_path.iterdir()) and pathlib.Path(trained.model).read_bytes() == before

    steps, notes = [], []
    result = offramp.calibrate(
        folder, data, threshold=0.5, threads=1, note=notes.append,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert result.met and result.policy.thresholds == [0.5] and result.policy.num_exits == 2
    assert steps and all(0 <= done <= total and unit for done, total, unit in steps)
    assert offramp.load(folder).session().stats().calibrated_images == result.tune_images
    assert "\n" not in repr(result) and len(repr(result)) < 400
    assert "--" not in " ".join(result.warnings)

    quantized = offramp.quantize(folder, data, out=tmp_path / "bf16.safetensors", precision="bf16")
    assert quantized.path == str(tmp_path / "bf16.safetensors") and len(quantized.exits) == 2
    assert quantized.bytes < quantized.bytes_before and "bf16.safetensors" in repr(quantized)
    with pytest.raises(ValueError, match="^max_accuracy_drop: "):
        offramp.calibrate(folder, data, max_accuracy_drop=1e-6)

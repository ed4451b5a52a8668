"""The example for Ray on a local cluster. Needs ray[data], which ./test does not install:

pip install "ray[data]" pytest . && pytest python/tests/test_ray.py

OFFRAMP_RAY_IMAGES is the number of images, OFFRAMP_RAY_SEED repeats the draws of a failed run, which
prints its seed. bench/robustness/kill_ray_workers.py does the same at length.
"""

import contextlib
import os
import pathlib
import random
import signal
import sys

import numpy as np
import pytest
from conftest import SHIPPED, make_images

import offramp

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
COUNT = int(os.environ.get("OFFRAMP_RAY_IMAGES", "20000"))
SEED = int(os.environ.get("OFFRAMP_RAY_SEED", random.randrange(2**32)))
WORKERS = 2

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLES))
    os.environ["PYTHONPATH"] = str(EXAMPLES)  # of the workers
    import ray_classify

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    yield ray_classify
    ray.shutdown()
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    path = tmp_path_factory.mktemp("pixels") / "pixels.npy"
    np.save(path, make_images(2000))
    return path


def worker_that_dies(example, folder, batches):
    """A worker that is killed once at each of these numbers of a batch's first image, before the
    batch is classified or after it."""

    class Mortal(example.Classifier):
        def __call__(self, batch):
            first = int(batch["id"][0])
            (pathlib.Path(folder) / str(os.getpid())).touch()
            answers = super().__call__(batch) if first % 2 else None
            if first in batches:
                with contextlib.suppress(FileExistsError):
                    (pathlib.Path(folder) / f"killed at {first}").touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)
            return answers or super().__call__(batch)

    return Mortal


def check(rows, pixels):
    """Every image has one answer, equal to that of one session in this process."""
    rows = rows.sort_values("id", ignore_index=True)
    assert rows["id"].tolist() == list(range(COUNT))
    images = np.load(pixels)
    expected = offramp.load(SHIPPED, threads=WORKERS).session().classify(images)
    of = np.arange(COUNT) % len(images)
    for column in ("class_index", "probability", "exit", "relative_cost"):
        assert (rows[column].to_numpy() == getattr(expected, column)[of]).all(), column
    assert (rows["error"] == "").all()
    return expected.exit[of]


def test_a_cluster_answers_as_one_process(example, pixels):
    answers = example.classify(SHIPPED, pixels, workers=WORKERS, count=COUNT).materialize()
    exits = check(answers.to_pandas(), pixels)
    stats, errors = example.statistics(SHIPPED, answers)
    assert errors == 0 and stats.images == COUNT
    assert stats.exits.tolist() == np.bincount(exits, minlength=stats.exits.size + 1)[1:].tolist()


def test_killed_workers_lose_and_double_nothing(example, pixels, tmp_path):
    """The batches that a worker dies at are drawn at random."""
    print(f"OFFRAMP_RAY_SEED={SEED}")  # pytest shows it where the test fails
    size = 499  # so that batches begin at odd and even numbers
    deaths = set(random.Random(SEED).sample(range(0, COUNT, size), 3))
    answers = example.classify(
        SHIPPED, pixels, workers=WORKERS, count=COUNT, batch_size=size,
        worker=worker_that_dies(example, tmp_path, deaths),
    )  # fmt: skip
    check(answers.materialize().to_pandas(), pixels)
    names = {one.name for one in tmp_path.iterdir()}
    assert {f"killed at {first}" for first in deaths} <= names
    assert len(names) - len(deaths) > len(deaths)  # of processes: each dies once


def test_files_are_read_with_their_errors(example, tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i, one in enumerate(make_images(20)):
        image.fromarray(one).save(tmp_path / f"{i:02}.png")
    (tmp_path / "no-image.png").write_bytes(b"hello")
    answers = example.classify(SHIPPED, tmp_path, workers=1)
    rows = answers.to_pandas().sort_values("path", ignore_index=True)
    expected = offramp.load(SHIPPED).session().classify(sorted(tmp_path.iterdir()))
    assert rows["class_index"].tolist() == expected.class_index.tolist()
    assert "not a JPEG, PNG, WebP or BMP" in rows["error"].iloc[-1]
    assert example.statistics(SHIPPED, answers)[1] == 1

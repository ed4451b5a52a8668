"""The example for Ray on a local cluster. Needs ray[data], which ./test does not install:

pip install "ray[data]" pytest . && OFFRAMP_RAY_IMAGES=200000 pytest -s python/tests/test_ray.py
"""

import os
import pathlib
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
from conftest import SHIPPED, make_images

import offramp

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
COUNT = int(os.environ.get("OFFRAMP_RAY_IMAGES", "20000"))
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


def worker_that_writes_its_process(example, folder):
    class Recorded(example.Classifier):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            (pathlib.Path(folder) / str(os.getpid())).touch()

    return Recorded


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
    """Workers are killed at random while the cluster works."""
    answers = example.classify(
        SHIPPED, pixels, workers=WORKERS, count=COUNT, batch_size=500,
        worker=worker_that_writes_its_process(example, tmp_path),
    )  # fmt: skip
    killed = []
    done = threading.Event()

    def kill():
        while len(killed) < 3 and not done.wait(0.5):
            living = [int(one.name) for one in tmp_path.iterdir() if int(one.name) not in killed]
            if living:
                killed.append(random.choice(living))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        rows = answers.to_pandas(limit=COUNT)
    finally:
        done.set()
        thread.join()
    check(rows, pixels)
    assert killed and len(list(tmp_path.iterdir())) > WORKERS


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


def test_the_throughput_is_printed(example, pixels):
    """Images a second of the cluster, beside two sessions in one process; start-up excluded."""
    images = np.load(pixels)
    model = offramp.load(SHIPPED, threads=1)
    sessions = [model.session() for _ in range(WORKERS)]
    blocks = [images[i : i + 1000] for i in range(0, len(images), 1000)]

    def work(session):
        for i in range(COUNT // WORKERS // 1000):
            session.classify(blocks[i % len(blocks)])

    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = COUNT / (time.monotonic() - start)

    answers = example.classify(SHIPPED, pixels, workers=WORKERS, count=COUNT)
    first, seen = None, 0
    for batch in answers.iter_batches(batch_size=None):
        if first is None:
            first = time.monotonic()  # the workers run
        else:
            seen += len(batch["id"])
    cluster = seen / (time.monotonic() - first)
    print(
        f"{COUNT} images: {alone:.0f} images/s in one process, {cluster:.0f} images/s in Ray, "
        f"ratio {cluster / alone:.2f}"
    )

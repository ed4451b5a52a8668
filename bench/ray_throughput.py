"""Prints the throughput of a local Ray cluster beside sessions in one process.

    python bench/ray_throughput.py [--images 200000] [--workers 2] [--model MODEL]

Needs ray[data], and a free core for each worker. The start of the workers is not counted: time runs
from the moment at which the last of them has answered its first batch, by the clock of the workers,
to the end of the last batch. A batch that is under way at that moment counts whole, so each worker
must have many. The answers of both are compared in python/tests/test_ray.py, not here.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import threading
import time

import numpy as np

import offramp

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = str(ROOT / "examples")
BATCH = 1000
LEAST_BATCHES = 20  # of each worker


def in_one_process(model, pixels, count, workers):
    """Images a second of `workers` sessions with a thread each."""
    loaded = offramp.load(model, threads=1)
    sessions = [loaded.session() for _ in range(workers)]
    blocks = [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]

    def work(session):
        for i in range(count // workers // BATCH):
            session.classify(blocks[i % len(blocks)])

    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count // workers // BATCH * BATCH * workers / (time.monotonic() - start)


def timed_worker(example):
    """A worker whose answers say when its batches ended, in seconds of this machine's clock."""

    class Timed(example.Classifier):
        def __call__(self, batch):
            answers = super().__call__(batch)
            rows = len(batch["id"])
            return {
                "process": np.full(rows, os.getpid()),
                "first": np.full(rows, batch["id"][0]),
                "end": np.full(rows, time.monotonic()),
                "exit": answers["exit"],
            }

    return Timed


def rate(rows, workers):
    """Images a second, of a table with a row for each image."""
    batches = rows.groupby("first").agg(
        process=("process", "first"), end=("end", "first"), images=("exit", "size")
    )
    first_ends = batches.groupby("process")["end"].min()
    if len(first_ends) < workers:
        sys.exit(f"{len(first_ends)} workers of {workers} have answered: nothing can be said")
    start = first_ends.max()
    later = batches[batches["end"] > start]
    return later["images"].sum() / (later["end"].max() - start)


def in_ray(model, path, count, workers):
    """Images a second of `workers` processes of Ray."""
    sys.path.insert(0, EXAMPLES)
    os.environ["PYTHONPATH"] = EXAMPLES  # of the workers
    import ray
    import ray_classify

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    answers = ray_classify.classify(
        model, path, workers=workers, count=count, batch_size=BATCH,
        worker=timed_worker(ray_classify),
    )  # fmt: skip
    rows = answers.to_pandas()
    ray.shutdown()
    return rate(rows, workers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default=ROOT / "models" / "cifar10-2-exits-small.safetensors")
    given = parser.parse_args()
    if given.images < LEAST_BATCHES * given.workers * BATCH:
        parser.error(f"--images: expected at least {LEAST_BATCHES * given.workers * BATCH}")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pixels.npy"
        np.save(path, pixels)
        alone = in_one_process(given.model, pixels, given.images, given.workers)
        cluster = in_ray(given.model, path, given.images, given.workers)
    print(
        f"{given.images} images: {alone:.0f} images/s in one process, {cluster:.0f} images/s in "
        f"Ray, ratio {cluster / alone:.2f}"
    )


if __name__ == "__main__":
    main()

"""Prints the throughput of a local Ray cluster beside sessions in one process.

    python bench/ray_throughput.py [--images 200000] [--workers 2] [--model MODEL]

Needs ray[data], and a free core for each worker. The start of the workers is not counted. The
answers of both are compared in python/tests/test_ray.py, not here.
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


def in_ray(model, path, count, workers):
    """Images a second of `workers` processes of Ray, from the first batch that is answered."""
    sys.path.insert(0, EXAMPLES)
    os.environ["PYTHONPATH"] = EXAMPLES  # of the workers
    import ray
    import ray_classify

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    answers = ray_classify.classify(model, path, workers=workers, count=count)
    first, seen = None, 0
    for batch in answers.iter_batches(batch_size=None):
        if first is None:
            first = time.monotonic()
        else:
            seen += len(batch["id"])
    seconds = time.monotonic() - first
    ray.shutdown()
    return seen / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default=ROOT / "models" / "cifar10-2-exits-small.safetensors")
    given = parser.parse_args()
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

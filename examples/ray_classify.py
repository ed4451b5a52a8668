"""Classifies images on a Ray cluster, each worker with a session of its own.

    pip install "ray[data]" .
    python examples/ray_classify.py MODEL IMAGES OUT [--workers 2] [--batch-size 1024]

IMAGES is a folder of JPEG, PNG, WebP and BMP files, or a file of numpy, uint8 [N, height, width,
3]; every worker must reach it and MODEL under the same path. OUT is a folder for the answers, in
Parquet files with one row for each image. Without a cluster, Ray starts one on this machine.
"""

import argparse
import pathlib

import numpy as np
import pandas
import ray
import ray.data

import offramp


class Classifier:
    """One worker: a process with a model of its own. Ray starts another one if it dies."""

    def __init__(self, model, images=None, threads=1):
        self.session = offramp.load(model, threads=threads).session()
        # The file is mapped: a worker reads only the rows of its batches.
        self.pixels = None if images is None else np.load(images, mmap_mode="r")

    def __call__(self, batch):
        """Answers a batch: dict of columns to dict of columns."""
        if self.pixels is None:
            images = list(batch["path"])  # read and decoded by the session
            name = {"path": batch["path"]}
        else:
            images = np.ascontiguousarray(self.pixels[batch["id"] % len(self.pixels)])
            name = {"id": batch["id"]}
        answers = self.session.classify(images)
        return {
            **name,
            "class_index": answers.class_index,
            "probability": answers.probability,
            "exit": answers.exit,
            "relative_cost": answers.relative_cost,
            "error": np.array([error or "" for error in answers.error]),
        }


def classify(
    model, images, *, workers=2, threads=1, batch_size=1024, count=None, worker=Classifier
):
    """A Ray dataset of answers, computed as it is read.

    Args:
        images: a folder of files or a file of numpy.
        count: number of rows; more than the file has repeats its images. None: each once.
        worker: the class of the workers.
    """
    images = pathlib.Path(images)
    if images.is_dir():
        endings = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
        rows = sorted(str(one) for one in images.rglob("*") if one.suffix.lower() in endings)
        if not rows:
            raise ValueError(f"{images}: no JPEG, PNG, WebP or BMP file in this folder")
        column, array = "path", None
    else:
        rows = np.arange(len(np.load(images, mmap_mode="r")) if count is None else count)
        column, array = "id", str(images)
    # Names alone are sent to the workers, which read the images: so no task of Ray reads them, and
    # the workers may have all CPUs.
    blocks = [
        pandas.DataFrame({column: rows[first : first + batch_size]})
        for first in range(0, len(rows), batch_size)
    ]
    return ray.data.from_pandas(blocks).map_batches(
        worker,
        fn_constructor_args=(str(model), array, threads),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
    )


def statistics(model, answers):
    """Statistics of all workers, from the answers: each image counts once, also where a worker
    died and another one repeated its batch."""
    exits = np.zeros(offramp.load(model, threads=1).num_exits + 1, dtype=np.int64)
    for batch in answers.iter_batches(batch_size=65536):
        exits += np.bincount(batch["exit"], minlength=len(exits))
    errors = int(exits[0])  # images without an answer have no exit
    return offramp.load(model, threads=1).stats_of(exits[1:]), errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--batch-size", type=int, default=1024)
    given = parser.parse_args()
    answers = classify(
        pathlib.Path(given.model).resolve(), pathlib.Path(given.images).resolve(),
        workers=given.workers, threads=given.threads, batch_size=given.batch_size,
    )  # fmt: skip
    answers.write_parquet(given.out)
    stats, errors = statistics(given.model, ray.data.read_parquet(given.out))
    print(stats)
    print(f"{errors} images could not be read")


if __name__ == "__main__":
    main()

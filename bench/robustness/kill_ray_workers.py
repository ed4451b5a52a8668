"""Kills a worker of a Ray cluster at a random moment, and compares the answers with one process.

    python bench/robustness/kill_ray_workers.py [--images 200000] [--kills 1] [--seed SEED]

examples/ray_classify.py classifies the images on a local cluster of two workers, and a worker is
ended by SIGKILL while it has a batch. Then every image must have exactly one answer, equal in all
columns to that of one session in this process, and the merged statistics must be those of the
answers. The script exits with status 1 at the first difference. Needs ray[data].

The images are drawn, or those of a file of numpy, uint8 [N, height, width, 3]; they are repeated up
to the number of images. The seed is printed. It gives the same draws of images, of the batches at
which a worker is killed and of the worker; how Ray shares out the batches differs from run to run.
"""

import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading

import numpy as np

import offramp

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = str(ROOT / "examples")
BATCH = 1000
COLUMNS = ("class_index", "probability", "exit", "relative_cost")


def recording_worker(example, folder):
    """A worker that leaves a file "PROCESS-FIRST" for each batch that it begins, and
    "PROCESS-FIRST.done" when it has answered."""

    class Recording(example.Classifier):
        def __call__(self, batch):
            begun = pathlib.Path(folder) / f"{os.getpid()}-{int(batch['id'][0])}"
            begun.touch()
            answers = super().__call__(batch)
            begun.rename(f"{begun}.done")
            return answers

    return Recording


class Killer(threading.Thread):
    """Ends a worker that has a batch, whenever a number of batches has begun."""

    def __init__(self, folder, begun_batches, draw):
        super().__init__(daemon=True)
        self._folder, self._moments, self._draw = folder, sorted(begun_batches), draw
        self._stopped = threading.Event()
        self.killed = []

    def run(self):
        while self._moments and not self._stopped.wait(0.002):
            names = os.listdir(self._folder)
            if len(names) < self._moments[0]:
                continue
            killed = {process for process, _ in self.killed}
            running = sorted(
                name for name in names
                if not name.endswith(".done") and int(name.split("-")[0]) not in killed
            )  # fmt: skip
            if not running:
                continue
            process, first = map(int, self._draw.choice(running).split("-"))
            os.kill(process, signal.SIGKILL)
            self.killed.append((process, first))
            print(f"killed worker {process}, which had the batch at image {first}", flush=True)
            self._moments.pop(0)

    def stop(self):
        self._stopped.set()
        self.join()


def differences(rows, expected, pixels, count):
    """Lines that say how the answers differ from those of one process."""
    ids = rows["id"].to_numpy()
    times = np.bincount(ids, minlength=count)
    if len(times) > count:
        yield f"{len(times) - count} numbers of images are too large"
    lost, doubled = int((times[:count] == 0).sum()), int((times[:count] > 1).sum())
    if lost or doubled:
        yield f"{lost} images have no answer, {doubled} have several"
        return
    of = ids % pixels
    for column in COLUMNS:
        differing = int((rows[column].to_numpy() != getattr(expected, column)[of]).sum())
        if differing:
            yield f"{column}: {differing} of {count} answers differ"
    errors = int((rows["error"] != "").sum())
    if errors:
        yield f"{errors} images could not be classified"


def run(given, pixels, path, folder):
    """Lines that say what is wrong."""
    sys.path.insert(0, EXAMPLES)
    os.environ["PYTHONPATH"] = EXAMPLES  # of the workers
    import ray
    import ray_classify

    draw = random.Random(given.seed)
    batches = given.images // BATCH
    # Not among the last batches, so that the answers of the worker that replaces it are seen too.
    moments = draw.sample(range(1, batches * 4 // 5 + 1), given.kills)
    killer = Killer(folder, moments, draw)
    ray.init(num_cpus=given.workers, include_dashboard=False, log_to_driver=False)
    killer.start()
    answers = ray_classify.classify(
        given.model, path, workers=given.workers, count=given.images, batch_size=BATCH,
        worker=recording_worker(ray_classify, folder),
    ).materialize()  # fmt: skip
    killer.stop()
    rows = answers.to_pandas()
    processes = {name.split("-")[0] for name in os.listdir(folder)}
    print(f"{len(rows)} rows of {len(processes)} processes", flush=True)
    if len(killer.killed) != given.kills:
        yield f"{len(killer.killed)} workers were killed instead of {given.kills}"
    expected = offramp.load(given.model, threads=1).session().classify(pixels)
    yield from differences(rows, expected, len(pixels), given.images)
    stats, errors = ray_classify.statistics(given.model, answers)
    exits = np.bincount(expected.exit[rows["id"].to_numpy() % len(pixels)])[1:]
    counted = stats.exits[: len(exits)]
    if errors or stats.images != given.images or counted.tolist() != exits.tolist():
        yield f"the merged statistics count {counted.tolist()} by exit instead of {exits.tolist()}"
    ray.shutdown()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000, help="number of answers")
    parser.add_argument("--pixels", type=pathlib.Path, help="a file of numpy; none: drawn images")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument(
        "--model", type=pathlib.Path, default=ROOT / "models" / "cifar10-2-exits-small.safetensors"
    )
    given = parser.parse_args()
    if given.images < 10 * BATCH or given.kills > given.images // BATCH // 2:
        parser.error(f"--images: expected at least {10 * BATCH}, and {2 * BATCH} for each kill")
    given.model = given.model.resolve()
    print(f"seed {given.seed}", flush=True)
    if given.pixels is None:
        shape = (10_000, *offramp.load(given.model, threads=1).input_shape[1:], 3)
        coarse = np.random.default_rng(given.seed).integers(
            0, 256, (shape[0], 4, 4, 3), dtype=np.uint8
        )
        pixels = coarse.repeat(shape[1] // 4, axis=1).repeat(shape[2] // 4, axis=2)
    else:
        pixels = np.load(given.pixels)
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "pixels.npy"
        np.save(path, pixels)
        folder = pathlib.Path(temporary) / "batches"
        folder.mkdir()
        wrong = list(run(given, pixels, path, folder))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print("different" if wrong else "equal to one process, nothing lost, nothing doubled")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

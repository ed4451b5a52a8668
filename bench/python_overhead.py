"""Prints what a call from Python costs, and what two Python threads reach.

    python bench/python_overhead.py [MODEL]

The first two figures are of a tiny network that is written here, at its first exit. They include
the network itself, so they are upper bounds of what Python adds to a session of C++. The third
needs two free cores and a network that takes much longer than a call.
"""

import pathlib
import statistics
import sys
import tempfile
import threading
import time

import numpy as np

import offramp

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python" / "tests"))
import tiny_model  # noqa: E402


def median_seconds(work, rounds):
    """CPU time of the process, which other programs on the machine affect little."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def together(sessions, images):
    threads = [threading.Thread(target=one.classify, args=(images,)) for one in sessions]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(sessions) * len(images) / (time.perf_counter() - start)


def main(model_path=ROOT / "models" / "cifar10-3-exits.safetensors"):
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_model.write(pathlib.Path(folder) / "tiny.safetensors")
        session = offramp.load(path, threads=1).session(0.0)
    random = np.random.default_rng(0)
    one = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    many = random.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
    session.classify(one)
    session.classify(many)
    print(f"one image: {1e6 * median_seconds(lambda: session.classify(one), 2000):.1f} us a call")
    seconds = median_seconds(lambda: session.classify(many), 9)
    print(f"batches:   {1e6 * seconds / len(many):.2f} us an image")

    model = offramp.load(model_path, threads=1)
    sessions = [model.session() for _ in range(2)]
    for session in sessions:
        session.classify(many[:500])
    pairs = [
        (together(sessions[:1], many[:2000]), together(sessions, many[:2000])) for _ in range(5)
    ]
    ratio = statistics.median(both / single for single, both in pairs)
    print(f"threads:   two sessions reach {ratio:.2f} times one, on {model.precision}")


if __name__ == "__main__":
    main(*sys.argv[1:])

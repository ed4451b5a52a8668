"""Prints what a call from Python costs, and what two Python threads reach.

    python bench/python_overhead.py [--cpp build/release/bench/runtime/call_bench] [--model MODEL]

The first two figures are of a tiny network that is written here, at its first exit, and include the
network itself. With --cpp, the same calls of a session of C++ are timed, in turns with those of
Python, and what Python adds is the difference. The third figure needs two free cores and a network
that takes much longer than a call.
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

import offramp

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python" / "tests"))
import tiny_model  # noqa: E402

CALLS = 200  # timed together, as one call is short beside the clock's own cost


def median_seconds(work, rounds):
    """CPU time of the process, which other programs on the machine affect little."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def in_python(session, one, many):
    """Microseconds a call with one image, and an image of a call with many."""

    def calls():
        for _ in range(CALLS):
            session.classify(one)

    return (
        1e6 * median_seconds(calls, 90) / CALLS,
        1e6 * median_seconds(lambda: session.classify(many), 9) / len(many),
    )


def in_cpp(program, path):
    """The same of a session of C++."""
    text = subprocess.run([program, path], check=True, capture_output=True, text=True).stdout
    return tuple(map(float, re.fullmatch(r"(\S+) us a call, (\S+) us an image\n", text).groups()))


def together(sessions, images):
    threads = [threading.Thread(target=one.classify, args=(images,)) for one in sessions]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(sessions) * len(images) / (time.perf_counter() - start)


def print_calls(path, many, program, turns):
    session = offramp.load(path, threads=1).session(0.0)
    session.classify(many[0])
    session.classify(many)
    python, cpp = [], []
    for _ in range(turns):
        python.append(in_python(session, many[0], many))
        if program:
            cpp.append(in_cpp(program, path))
    for name, column in (("us a call", 0), ("us an image in batches", 1)):
        ours = statistics.median(turn[column] for turn in python)
        text = f"Python {ours:.2f}"
        if program:
            theirs = statistics.median(turn[column] for turn in cpp)
            text += f", C++ {theirs:.2f}, difference {ours - theirs:.2f}"
        print(f"{text} {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpp", help="the program call_bench")
    parser.add_argument("--model", default=ROOT / "models" / "cifar10-3-exits.safetensors")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    many = random.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_model.write(pathlib.Path(folder) / "tiny.safetensors")
        print_calls(path, many, given.cpp, given.turns)

    model = offramp.load(given.model, threads=1)
    sessions = [model.session() for _ in range(2)]
    for session in sessions:
        session.classify(many[:500])
    pairs = [
        (together(sessions[:1], many[:2000]), together(sessions, many[:2000])) for _ in range(5)
    ]
    ratio = statistics.median(both / single for single, both in pairs)
    print(f"two threads with a session each reach {ratio:.2f} times one, on {model.precision}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures offramp's server beside what a person builds today, on the same cores.

    cmake --preset release -DOFFRAMP_BENCH=ON && cmake --build --preset release --target offramp serve_load
    bench/serve/peers.py --prepare peers         installs fastapi, uvicorn, onnxruntime and what they need
    bench/serve/peers.py --folder peers --onnx int8-1.onnx --data data [--model models/cifar10-3-exits.safetensors]

The ONNX file is the plain network in int8 for batches of one image, as quantize_plain.py writes it. The
contenders take turns, `--rounds` times; the medians are printed as JSON, with the ratios to offramp. All of them
classify the same test images of --data, and their accuracies are in the table. ONNX Runtime behind offramp's own HTTP
code is among them where --ort-server names the program: `cmake --build --preset release --target ort_server` builds it
if the headers of ONNX Runtime are found (-DONNXRUNTIME_INCLUDE_DIR=FOLDER; Debian 13: libonnxruntime-dev). Before
anything is timed, each contender must answer requests with 200.

    --goodput MS    the largest rate of requests at which 95 % are answered within MS milliseconds, by bisection
    --cost          processor time and latency of offramp's server beside those of the library
    --overload      offramp's server first as it is, then with five times the requests a second that it answered

Use quiet cores; the load runs on them too.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["fastapi", "uvicorn[standard]", "onnxruntime", "onnx", "sympy", "pillow", "numpy"]


def prepare(folder):
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", *PACKAGES], check=True)


def wait_for(port, path, process):
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server does not answer")


class Contender:
    def __init__(self, name, command, port, load, ready="/"):
        self.name, self.command, self.port, self.load, self.ready = name, command, port, load, ready

    def measure(self, flags, *more):
        process = subprocess.Popen([str(one) for one in self.command], stdout=subprocess.DEVNULL)
        try:
            wait_for(self.port, self.ready, process)
            ended = subprocess.run([str(one) for one in (flags.load, "--port", self.port, "--pid", process.pid,
                                                         *self.load, *more)],
                                   check=True, capture_output=True, text=True)
        finally:
            process.terminate()
            process.wait(60)
        result = json.loads(ended.stdout)
        if "200" not in result["statuses"]:
            sys.exit(f"{self.name}: no request was accepted: {result['statuses']}")
        return result


def contenders(flags):
    ours = [flags.offramp, "serve", flags.model, "--threads", flags.threads, *flags.serve_flags.split()]
    images = ["--data", flags.data, "--images", flags.images] if flags.data else []
    target = ["--target", f"/v2/models/{flags.model.stem}/infer", *images]
    floats = ["--target", "/infer", "--floats", *images]
    many = [Contender("offramp", [*ours, "--port", 8301], 8301, target, "/v2/health/ready"),
            Contender("offramp, exits off", [*ours, "--port", 8302], 8302,
                      [*target, "--parameters", '"stop":"last"'], "/v2/health/ready")]
    # Both ways to use the cores: all threads on one image, or an image on each.
    for streams, each in ((1, flags.threads), (flags.threads, 1)) if flags.onnx else ():
        many.append(Contender(f"FastAPI, ONNX Runtime int8, {each} threads an image",
                              [flags.folder / "bin/python", HERE / "fastapi_server.py", flags.onnx, 8303, each],
                              8303, floats))
        if flags.ort_server:
            library = next(flags.folder.glob("lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*"))
            many.append(Contender(f"same HTTP code, ONNX Runtime int8, {each} threads an image",
                                  [flags.ort_server, library, flags.onnx, 8304, streams, each], 8304, floats))
    return [one for one in many if not flags.only or any(part in one.name for part in flags.only)]


def summary(results):
    def median(of):
        return statistics.median(of(one) for one in results)

    return {"requests_per_second": median(lambda one: one["accepted_per_second"]),
            "accuracy": median(lambda one: one["accuracy"] or 0),
            "p50_ms": median(lambda one: one["latency_ms"]["p50"]),
            "p95_ms": median(lambda one: one["latency_ms"]["p95"]),
            "p99_ms": median(lambda one: one["latency_ms"]["p99"]),
            "cpu_us_per_request": median(lambda one: one["server"]["cpu_us_per_request"]),
            "resident_mib_most": max(one["server"]["resident_mib_most"] for one in results),
            "statuses": [one["statuses"] for one in results]}


def goodput(flags, one):
    """Returns the largest rate at which the p95 is within the limit, to about 3 %, and what was measured on the way."""
    closed = one.measure(flags, "--connections", flags.connections, "--seconds", flags.seconds)
    low, high, tried = 0, 1.2 * closed["accepted_per_second"], []
    while high - low > 0.03 * high and len(tried) < 10:
        rate = (low + high) / 2 if low else 0.8 * high
        result = one.measure(flags, "--rate", rate, "--connections", 512, "--seconds", flags.seconds,
                             "--requests", 2000000)
        good = result["latency_ms"]["p95"] <= flags.goodput and list(result["statuses"]) == ["200"]
        tried.append({"rate": rate, "p95_ms": result["latency_ms"]["p95"], "p99_ms": result["latency_ms"]["p99"],
                      "accepted_per_second": result["accepted_per_second"], "good": good})
        if good:
            low = rate
        else:
            high = rate
            if not low and len(tried) == 1:
                low = 0.3 * high
    return {"requests_per_second": max((t["accepted_per_second"] for t in tried if t["good"]), default=0),
            "tried": tried}


def cost(flags, ours):
    """Processor time and latency of the server beside those of `offramp bench` on the same images.

    The latency is compared with one thread for both, so that `bench` has one stream and the load has a core.
    """
    alone = Contender("one thread", [flags.offramp, "serve", flags.model, "--threads", 1, "--port", 8305], 8305,
                      ours.load, "/v2/health/ready")

    def library(batch, threads):
        command = [flags.offramp, "bench", flags.model, "--data", flags.data, "--images", flags.images, "--mode",
                   "adaptive", "--precision", "int8", "--batch", batch, "--threads", threads, "--seconds",
                   flags.seconds, "--json"]
        ended = subprocess.run([str(one) for one in command], check=True, capture_output=True, text=True)
        return json.loads(ended.stdout)[0]

    rounds = {"server_cpu_us": [], "library_cpu_us": [], "server_alone_ms": [], "library_alone_ms": []}
    for _ in range(flags.rounds):
        busy = ours.measure(flags, "--connections", flags.connections, "--seconds", flags.seconds)
        rounds["server_cpu_us"].append(busy["server"]["cpu_us_per_request"])
        rounds["library_cpu_us"].append(1e6 * flags.threads / library(8, flags.threads)["images_per_second"])
        one = alone.measure(flags, "--connections", 1, "--seconds", flags.seconds)
        rounds["server_alone_ms"].append(one["latency_ms"]["p50"])
        rounds["library_alone_ms"].append(library(1, 1)["latency_ms"]["p50"])
    middle = {key: statistics.median(values) for key, values in rounds.items()}
    return {"cpu_us_more": middle["server_cpu_us"] - middle["library_cpu_us"],
            "latency_us_more": 1e3 * (middle["server_alone_ms"] - middle["library_alone_ms"]),
            "medians": middle, "rounds": rounds}


def overload(flags, ours):
    usual = ours.measure(flags, "--connections", flags.connections, "--seconds", flags.seconds)
    rate = 5 * usual["accepted_per_second"]
    over = ours.measure(flags, "--rate", rate, "--connections", flags.overload_connections, "--seconds",
                        flags.overload_seconds, "--requests", 2000000)
    return {"usual": usual, "overload": over}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--folder", type=pathlib.Path, help="the folder that --prepare made")
    parser.add_argument("--onnx", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default="models/cifar10-3-exits.safetensors")
    parser.add_argument("--offramp", type=pathlib.Path, default="build/release/offramp")
    parser.add_argument("--load", type=pathlib.Path, default="build/release/bench/serve_load")
    parser.add_argument("--ort-server", type=pathlib.Path, help="build/release/bench/ort_server")
    parser.add_argument("--data", help="test images; default: random images")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--only", nargs="+", help="contenders whose names contain one of these texts")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--goodput", type=float, metavar="MS")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--serve-flags", default="", help="more flags of offramp serve, in one text")
    parser.add_argument("--overload-connections", type=int, default=1100)
    parser.add_argument("--overload-seconds", type=float, default=120)
    flags = parser.parse_args()
    if flags.prepare:
        return prepare(flags.prepare)
    if flags.onnx and not flags.folder:
        parser.error("--onnx needs --folder")
    if flags.cost and not flags.data:
        parser.error("--cost needs --data")
    many = contenders(flags)
    if flags.overload or flags.cost:
        print(json.dumps((overload if flags.overload else cost)(flags, many[0]), indent=2))
        return
    if flags.goodput:
        print(json.dumps({one.name: goodput(flags, one) for one in many}, indent=2))
        return
    results = {one.name: [] for one in many}
    for turn in range(flags.rounds):
        for one in many if turn % 2 == 0 else reversed(many):
            results[one.name].append(one.measure(flags, "--connections", flags.connections, "--seconds",
                                                 flags.seconds))
    table = {name: summary(of) for name, of in results.items()}
    if "offramp" in table:
        for row in table.values():
            row["offramp_is_faster_by"] = table["offramp"]["requests_per_second"] / row["requests_per_second"]
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()

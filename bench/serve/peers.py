#!/usr/bin/env python3
"""Measures offramp's server beside what a person builds today, on the same cores.

    cmake --preset release -DOFFRAMP_BENCH=ON && cmake --build --preset release --target offramp serve_load
    bench/serve/peers.py --prepare peers         installs fastapi, uvicorn, onnxruntime and numpy in this folder
    bench/serve/peers.py --folder peers --onnx int8-1.onnx [--model models/cifar10-3-exits.safetensors]

The ONNX file is the plain network in int8 for batches of one image, as bench/peers/infer/compare.py writes it. The
contenders take turns, `--rounds` times; the medians are printed as JSON, with the ratios to offramp. ONNX Runtime
behind offramp's own HTTP code is not among them: no package has its C++ headers. Before anything is timed, each
contender must answer one request with 200. --overload measures offramp's server alone: first as it is, then with five
times the requests a second that it answered. Use quiet cores; the load runs on them too.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["fastapi", "uvicorn", "onnxruntime", "numpy"]


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


def contenders(flags, folder):
    ours = [flags.offramp, "serve", flags.model, "--threads", flags.threads]
    target = ["--target", f"/v2/models/{flags.model.stem}/infer", "--connections", flags.connections]
    many = [Contender("offramp", [*ours, "--port", 8301], 8301, target, "/v2/health/ready"),
            Contender("offramp, exits off", [*ours, "--port", 8302], 8302,
                      [*target, "--parameters", '"stop":"last"'], "/v2/health/ready")]
    if flags.onnx:
        body = folder / "image.f32"
        body.write_bytes(bytes(4 * 3 * 32 * 32))
        many.append(Contender("FastAPI, ONNX Runtime int8",
                              [flags.folder / "bin/python", HERE / "fastapi_server.py", flags.onnx, 8303, flags.threads],
                              8303, ["--target", "/infer", "--body", body, "--connections", flags.connections]))
    return many


def summary(results):
    def median(of):
        return statistics.median(of(one) for one in results)

    return {"requests_per_second": median(lambda one: one["accepted_per_second"]),
            "p50_ms": median(lambda one: one["latency_ms"]["p50"]),
            "p95_ms": median(lambda one: one["latency_ms"]["p95"]),
            "p99_ms": median(lambda one: one["latency_ms"]["p99"]),
            "cpu_us_per_request": median(lambda one: one["server"]["cpu_us_per_request"]),
            "resident_mib_most": max(one["server"]["resident_mib_most"] for one in results),
            "statuses": [one["statuses"] for one in results]}


def overload(flags, ours):
    usual = ours.measure(flags, "--seconds", flags.seconds)
    rate = 5 * usual["accepted_per_second"]
    over = ours.measure(flags, "--rate", rate, "--connections", 256, "--seconds", flags.overload_seconds,
                        "--requests", 2000000)
    return {"usual": usual, "overload": over}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--folder", type=pathlib.Path, help="the folder that --prepare made")
    parser.add_argument("--onnx", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default="models/cifar10-3-exits.safetensors")
    parser.add_argument("--offramp", type=pathlib.Path, default="build/release/offramp")
    parser.add_argument("--load", type=pathlib.Path, default="build/release/bench/serve_load")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--overload-seconds", type=float, default=120)
    flags = parser.parse_args()
    if flags.prepare:
        return prepare(flags.prepare)
    if flags.onnx and not flags.folder:
        parser.error("--onnx needs --folder")
    with tempfile.TemporaryDirectory() as name:
        many = contenders(flags, pathlib.Path(name))
        if flags.overload:
            print(json.dumps(overload(flags, many[0]), indent=2))
            return
        results = {one.name: [] for one in many}
        for turn in range(flags.rounds):
            for one in many if turn % 2 == 0 else reversed(many):
                results[one.name].append(one.measure(flags, "--seconds", flags.seconds))
    table = {name: summary(of) for name, of in results.items()}
    ours = table["offramp"]["requests_per_second"]
    for row in table.values():
        row["offramp_is_faster_by"] = ours / row["requests_per_second"]
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()

"""Inference speed: offramp against ONNX Runtime and PyTorch, alternating, on one machine, answers compared first.

    npm install --ignore-scripts --prefix FOLDER onnxruntime-node@1.30
    bench/peers/infer/compare.py --offramp build/release/offramp --node-modules FOLDER/node_modules

The network is the plain ResNet-18 (cifar stem, 64 wide, 32x32) with random weights, or with those of --model, a
ResNet-18 without early exits. --adaptive adds a model with early exits and a policy that is run on the images of
--data; its contenders run the plain network of --model, which should have the same width. Times leave decoding out on all sides.

Every contender runs at its best of one stream with all threads and a stream a thread (for peers: a process a
stream), in rounds that go through all contenders forwards and backwards; figures are medians over the rounds. The int8 model
of ONNX Runtime is the same network with quantise/dequantise pairs, whose residuals stay quantised: its optimised
graph is checked to hold 20 QLinearConv and 8 QLinearAdd.

Needs Python 3 with numpy and torch, and node.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy

import onnx_file
import resnet

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = HERE.parents[2] / "configs" / "original" / "plain.toml"

# What is aimed at: ours, the peers it is held against, mode, what the ratio must reach at batch 1 and 32.
TARGETS = [
    ("plain f32", ["ort f32"], (1.4, 1.3)),
    ("plain bf16", ["ort f32"], (2.6, 1.9)),
    ("plain int8", ["ort f32"], (5.0, 3.8)),
    ("plain int8", ["ort int8"], (1.4, 1.1)),
    ("adaptive int8", ["ort f32"], (10.0, None)),
    ("adaptive int8", ["torch eager", "torch frozen", "torch frozen-bf16"], (10.0, None)),
]
# Largest |a - b| over the largest |b| that passes as the same answers; b is ours in f32.
TOLERANCE = {"ort f32": 1e-3, "ort int8": 0.25, "torch eager": 1e-3, "torch frozen": 1e-3, "torch frozen-bf16": 0.05}


class Worker:
    """A peer in a process of its own, which runs when it is told to."""

    def __init__(self, command, logits, environment):
        self.logits = logits
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **environment})
        self.answer()  # ready: one after the other, for threads that wait for each other by spinning

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer ended: {' '.join(self.process.args)}")
        return json.loads(line)

    def start(self, seconds):
        self.process.stdin.write(f"run {seconds}\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    def __init__(self, args, files, name, batch):
        self.name, self.batch, self.rates, self.latency = name, batch, {}, {}
        self.teams = {}
        for streams, threads in {(1, args.threads), (args.threads, 1)}:
            self.teams[f"{streams}x{threads}"] = [self.worker(args, files, threads, i) for i in range(streams)]

    def worker(self, args, files, threads, place):
        engine, mode = self.name.split()
        logits = files / f"{engine}-{mode}-{self.batch}-{threads}-{place}.f32"
        common = [self.batch, threads, files / "images.f32", logits, ",".join(map(str, args.shape))]
        # As many threads as it is told, and no more behind its back.
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if engine == "torch":
            return Worker([sys.executable, HERE / "torch_worker.py", mode, files / "model.safetensors"] + common,
                          logits, environment)
        optimised = files / f"{mode}-{self.batch}-{threads}-{place}.optimised.onnx"
        self.optimised = optimised
        return Worker(["node", HERE / "ort_worker.js", args.node_modules, files / f"{mode}-{self.batch}.onnx"] +
                      common + [optimised], logits, environment)

    def check(self, expected):
        """How far the answers of all streams are from ours."""
        tolerance, worst = TOLERANCE[self.name], 0
        for team in self.teams.values():
            for worker in team:
                said = numpy.fromfile(worker.logits, numpy.float32).reshape(expected.shape)
                worst = max(worst, float(abs(said - expected).max() / abs(expected).max()))
        if worst > tolerance:
            raise SystemExit(f"{self.name}: answers differ by {worst:.2g} of the largest logit, more than {tolerance}")
        return worst

    def run(self, seconds):
        for split, team in self.teams.items():
            for worker in team:
                worker.start(seconds)
            results = [worker.answer() for worker in team]
            self.rates.setdefault(split, []).append(sum(r["images"] / r["seconds"] for r in results))
            self.latency.setdefault(split, []).append({k: max(r["latency_ms"][k] for r in results)
                                                       for k in results[0]["latency_ms"]})

    def rows(self):
        split = max(self.rates, key=lambda s: statistics.median(self.rates[s]))
        latency = {k: statistics.median(l[k] for l in self.latency[split]) for k in self.latency[split][0]}
        latency["max"] = max(l["max"] for l in self.latency[split])
        return {"contender": self.name, "batch": self.batch, "split": split,
                "images_per_second": statistics.median(self.rates[split]), "latency_ms": latency,
                "splits": {s: statistics.median(r) for s, r in self.rates.items()}}

    def stop(self):
        for team in self.teams.values():
            for worker in team:
                worker.stop()


class Ours:
    """offramp bench, once a round."""

    def __init__(self, args, model, mode, precision, batch):
        self.name, self.batch, self.results = f"{mode} {precision}", batch, []
        self.command = [args.offramp, "bench", model, "--mode", mode, "--precision", precision, "--batch", batch,
                        "--threads", args.threads, "--json"]
        if mode == "adaptive":
            self.command += ["--data", args.data] + (["--images", args.images] if args.images else [])
        else:
            self.command += ["--images", 64 if batch == 1 else 4 * batch]
            if precision == "f32" and args.tune:
                self.command += ["--tune"]

    def run(self, seconds):
        command = [str(c) for c in self.command + ["--seconds", seconds]]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.results.append(json.loads(result.stdout)[0])

    def rows(self):
        def middle(key):
            return statistics.median(r[key] for r in self.results)
        latency = {k: statistics.median(r["latency_ms"][k] for r in self.results) for k in ("p50", "p95", "p99")}
        latency["max"] = max(r["latency_ms"]["max"] for r in self.results)
        best = max(self.results, key=lambda r: r["images_per_second"])
        return {"contender": self.name, "batch": self.batch, "split": f"{best['streams']}x{best['threads_each']}",
                "images_per_second": middle("images_per_second"), "latency_ms": latency,
                "share_of_ceiling": middle("share_of_ceiling") if best["share_of_ceiling"] else None,
                "accuracy": best["accuracy"], "relative_cost": best["relative_cost"], "machine": best["machine"]}

    def stop(self):
        pass


def prepare(args, files):
    """The network, its images and our answers, as every contender needs them; the answers."""
    model = args.model or RECIPE
    subprocess.run([str(c) for c in (args.offramp, "bench", model, "--keep", files, "--batch", 1, "--precision", "f32",
                                     "--mode", "plain", "--images", 64, "--seconds", 0.01)],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = resnet.read_safetensors(files / "answers.safetensors")
    weights = resnet.read_safetensors(files / "model.safetensors")
    args.shape = answers["images"].shape[1:]
    answers["images"].tofile(files / "images.f32")
    observer = resnet.Ranges(answers["images"])
    resnet.walk(weights, observer)
    for batch in args.batches:
        resnet.write_onnx(weights, files / f"f32-{batch}.onnx", batch, args.shape)
        resnet.write_onnx(weights, files / f"int8-{batch}.onnx", batch, args.shape, observer.ranges)
    return answers["logits"][-1]


def targets_of(rows, batch):
    rate = {r["contender"]: r["images_per_second"] for r in rows if r["batch"] == batch}
    for ours, peers, (at_one, at_many) in TARGETS:
        target, peers = at_one if batch == 1 else at_many, [p for p in peers if p in rate]
        if ours in rate and peers and target:
            best = max(peers, key=rate.get)
            yield {"ours": ours, "peer": best, "batch": batch, "ratio": rate[ours] / rate[best], "target": target}


def report(args, rows, errors, operations):
    print(f"{'contender':<20} {'batch':>5} {'split':>6} {'images/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} "
          f"{'max ms':>8}  {'of ceiling':>10} {'accuracy':>8}  logit error")
    for r in rows:
        l, share, accuracy = r["latency_ms"], r.get("share_of_ceiling"), r.get("accuracy")
        print(f"{r['contender']:<20} {r['batch']:>5} {r['split']:>6} {r['images_per_second']:>9.1f} {l['p50']:>8.3f} "
              f"{l['p95']:>8.3f} {l['p99']:>8.3f} {l['max']:>8.3f}  {f'{share:.1%}' if share else '-':>10} "
              f"{f'{accuracy:.2%}' if accuracy else '-':>8}  "
              f"{'%.1e' % errors[r['contender']] if r['contender'] in errors else '-'}")
    targets = [t for batch in args.batches for t in targets_of(rows, batch)]
    print()
    for t in targets:
        print(f"{t['ours']} over {t['peer']}, batch {t['batch']}: {t['ratio']:.2f}, at least {t['target']} "
              f"{'reached' if t['ratio'] >= t['target'] else 'MISSED'}")
    for batch, counts in operations.items():
        print(f"ONNX Runtime int8, batch {batch}: {counts.get('QLinearConv', 0)} QLinearConv, "
              f"{counts.get('QLinearAdd', 0)} QLinearAdd in its optimised graph")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"rows": rows, "targets": targets}, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offramp", required=True)
    parser.add_argument("--node-modules", help="folder that holds onnxruntime-node; without it PyTorch alone")
    parser.add_argument("--model", help="plain ResNet-18 model file; default: random weights, 64 wide")
    parser.add_argument("--adaptive", help="model file with early exits and a policy")
    parser.add_argument("--data", help="test images, for --adaptive")
    parser.add_argument("--images", type=int, help="how many of them")
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16"], help="ours")
    parser.add_argument("--adaptive-precisions", nargs="+", default=["bf16"], help="of --adaptive")
    parser.add_argument("--peers", nargs="+", default=list(TOLERANCE))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each contender and split, a round")
    parser.add_argument("--tune", action="store_true", help="ours in f32 by Winograd's algorithm where it is the faster one here")
    parser.add_argument("--json", help="write the result to this file")
    args = parser.parse_args()
    peers = [p for p in args.peers if args.node_modules or not p.startswith("ort")]

    with tempfile.TemporaryDirectory() as folder:
        files = pathlib.Path(folder)
        expected = prepare(args, files)
        contenders = []
        for batch in args.batches:
            contenders += [Ours(args, files / "model.safetensors", "plain", p, batch) for p in args.precisions]
            if args.adaptive:
                contenders += [Ours(args, args.adaptive, "adaptive", p, batch) for p in args.adaptive_precisions]
            contenders += [Peer(args, files, p, batch) for p in peers]
        opponents = [c for c in contenders if isinstance(c, Peer)]
        errors, operations = {}, {}
        for peer in opponents:
            errors[peer.name] = max(errors.get(peer.name, 0), peer.check(expected))
            if peer.name == "ort int8":
                counts = operations[peer.batch] = onnx_file.operations(peer.optimised)
                if (counts.get("QLinearConv"), counts.get("QLinearAdd")) != (20, 8):
                    raise SystemExit(f"ONNX Runtime did not keep the network in int8: {counts}")
        for turn in range(args.rounds):
            for contender in contenders if turn % 2 == 0 else contenders[::-1]:
                contender.run(args.seconds)
                print(f"{contender.name}, batch {contender.batch}", file=sys.stderr)
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
        report(args, [c.rows() for c in contenders], errors, operations)
        for contender in contenders:
            contender.stop()


main()

"""Compares the inference speed of offramp, ONNX Runtime and PyTorch, alternating on one machine.

    npm install --ignore-scripts --prefix FOLDER onnxruntime-node@1.30
    bench/peers/infer/compare.py --offramp build/release/offramp --node-modules FOLDER/node_modules

The network is the plain ResNet-18 (cifar stem, 64 wide, 32x32) with random weights, or with those of --model, a
ResNet-18 without early exits. --adaptive adds a model with early exits and a policy that is run on the images of
--data; the other contenders run the plain network of --model, which should have the same width. Times exclude
decoding for all contenders.

Two splits of the threads are compared: one stream with all threads, and one stream per thread (for peers: one process
per stream). Rounds go through all contenders forwards and backwards, and figures are medians over the rounds. Peers run
both splits in full, and the faster one counts. offramp tries both for as long as peers warm up and times the faster one;
its figure is the median of the rounds at the split that was timed most often.

Before anything is timed, the answers of every contender are compared with those of offramp in f32. The accuracy of an
adaptive network on the timed images may be at most 0.5 percentage points below that of the plain network in f32 on the
same images; otherwise the ratio does not count. The int8 model of ONNX Runtime is the same network with
quantise/dequantise pairs whose residuals stay quantised; its optimised graph must contain 20 QLinearConv and 8
QLinearAdd.

The script needs Python 3 with numpy and torch, and node.
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

# Targets: the contender of offramp, the peers it is compared with, and the ratios to reach at batch 1 and batch 32.
TARGETS = [
    ("plain f32", ["ort f32"], (1.4, 1.3)),
    ("plain bf16", ["ort f32"], (2.6, 1.9)),
    ("plain int8", ["ort f32"], (5.0, 3.8)),
    ("plain int8", ["ort int8"], (1.4, 1.1)),
    ("adaptive int8", ["ort f32"], (10.0, None)),
    ("adaptive int8", ["torch eager", "torch frozen", "torch frozen-bf16"], (10.0, None)),
]
LOSS = 0.005  # largest loss of accuracy of the adaptive network against the plain one in f32
# Largest accepted value of max|a - b| / max|b| for logits a of a contender and b of offramp in f32.
OURS_TOLERANCE = {"plain bf16": 0.05, "plain int8": 0.25}
TOLERANCE = {"ort f32": 1e-3, "ort int8": 0.25, "torch eager": 1e-3, "torch frozen": 1e-3, "torch frozen-bf16": 0.05}


class Worker:
    """A peer in its own process, which runs when it receives a command."""

    def __init__(self, command, logits, environment):
        self.logits = logits
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **environment})
        self.answer()  # workers start one after the other, because waiting threads of a peer use the CPU

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
        # These variables keep the peer's libraries from starting more threads than requested.
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if engine == "torch":
            return Worker([sys.executable, HERE / "torch_worker.py", mode, files / "model.safetensors"] + common,
                          logits, environment)
        optimised = files / f"{mode}-{self.batch}-{threads}-{place}.optimised.onnx"
        self.optimised = optimised
        return Worker(["node", HERE / "ort_worker.js", args.node_modules, files / f"{mode}-{self.batch}.onnx"] +
                      common + [optimised], logits, environment)

    def check(self, expected):
        """Returns the largest relative difference of the streams' logits from offramp's."""
        tolerance, worst = TOLERANCE[self.name], 0
        for team in self.teams.values():
            for worker in team:
                said = numpy.fromfile(worker.logits, numpy.float32).reshape(expected.shape)
                worst = max(worst, difference(said, expected))
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
    """offramp as a contender: runs `offramp bench` once per round."""

    def __init__(self, args, model, mode, precision, batch):
        self.name, self.batch, self.results = f"{mode} {precision}", batch, []
        self.command = [args.offramp, "bench", model, "--mode", mode, "--precision", precision, "--batch", batch,
                        "--threads", args.threads, "--json"]
        if mode == "adaptive":
            self.command += on_data(args)
        else:
            self.command += ["--images", 64 if batch == 1 else 4 * batch]

    def run(self, seconds):
        command = [str(c) for c in self.command + ["--seconds", seconds]]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.results.append(json.loads(result.stdout)[0])

    def rows(self):
        split = statistics.mode(f"{r['streams']}x{r['threads_each']}" for r in self.results)
        timed = [r for r in self.results if split == f"{r['streams']}x{r['threads_each']}"]

        def middle(key):
            known = [r[key] for r in timed if r[key] is not None]
            return statistics.median(known) if known else None
        latency = {k: statistics.median(r["latency_ms"][k] for r in timed) for k in ("p50", "p95", "p99")}
        latency["max"] = max(r["latency_ms"]["max"] for r in timed)
        busy = max(self.results, key=lambda r: r["machine"]["others"] + r["machine"]["stolen"])
        return {"contender": self.name, "batch": self.batch, "split": split,
                "images_per_second": middle("images_per_second"), "latency_ms": latency,
                "share_of_ceiling": middle("share_of_ceiling"), "accuracy": timed[0]["accuracy"],
                "relative_cost": timed[0]["relative_cost"], "rounds": len(timed), "machine": busy["machine"]}

    def stop(self):
        pass


def on_data(args):
    return ["--data", args.data] + (["--images", args.images] if args.images else [])


def bench(args, *flags):
    """Runs `offramp bench` once and returns its JSON output."""
    command = [str(c) for c in (args.offramp, "bench", *flags, "--json")]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def difference(said, expected):
    return float(abs(said - expected).max() / abs(expected).max())


def check_ours(answers):
    """Returns the largest relative difference of offramp's logits in bf16 and int8 from those in f32."""
    errors = {}
    for name, tolerance in OURS_TOLERANCE.items():
        said = answers.get("logits." + name.split()[1])
        if said is None:
            continue
        errors[name] = difference(said[-1], answers["logits"][-1])
        if errors[name] > tolerance:
            raise SystemExit(f"{name}: answers differ by {errors[name]:.2g} of the largest logit, more than {tolerance}")
    return errors


def prepare(args, files):
    """Writes the network and its images in every contender's format.

    Returns the logits of offramp in f32, and the differences of its other precisions from them.
    """
    bench(args, args.model or RECIPE, "--keep", files, "--batch", 1, "--precision", ",".join(args.precisions),
          "--mode", "plain", "--images", 64, "--seconds", 0.01)
    answers = resnet.read_safetensors(files / "answers.safetensors")
    weights = resnet.read_safetensors(files / "model.safetensors")
    args.shape = answers["images"].shape[1:]
    answers["images"].tofile(files / "images.f32")
    observer = resnet.Ranges(answers["images"])
    resnet.walk(weights, observer)
    for batch in args.batches:
        resnet.write_onnx(weights, files / f"f32-{batch}.onnx", batch, args.shape)
        resnet.write_onnx(weights, files / f"int8-{batch}.onnx", batch, args.shape, observer.ranges)
    return answers["logits"][-1], check_ours(answers)


def targets_of(args, rows, batch, plain_accuracy):
    """Yields every target at this batch with its ratio, and the reason if it was not measured or does not count."""
    rate = {r["contender"]: r["images_per_second"] for r in rows if r["batch"] == batch}
    accuracy = {r["contender"]: r.get("accuracy") for r in rows if r["batch"] == batch}
    for ours, peers, (at_one, at_many) in TARGETS:
        target, present = at_one if batch == 1 else at_many, [p for p in peers if p in rate]
        if not target:
            continue
        found = {"ours": ours, "peer": " or ".join(peers), "batch": batch, "target": target, "ratio": None, "why": ""}
        if ours not in rate or not present:
            found["why"] = "not measured"
        else:
            found["peer"] = max(present, key=rate.get)
            found["ratio"] = rate[ours] / rate[found["peer"]]
            if ours.startswith("adaptive"):
                found["loss"] = plain_accuracy - accuracy[ours]
                found["why"] = "" if found["loss"] <= LOSS else f"loses more than {LOSS:.1%} of accuracy"
        found["reached"] = found["ratio"] is not None and not found["why"] and found["ratio"] >= target
        yield found


def report(args, rows, errors, operations, plain_accuracy):
    print(f"{'contender':<20} {'batch':>5} {'split':>6} {'images/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} "
          f"{'max ms':>8}  {'of ceiling':>10} {'accuracy':>8}  logit error")
    for r in rows:
        l, share, accuracy = r["latency_ms"], r.get("share_of_ceiling"), r.get("accuracy")
        print(f"{r['contender']:<20} {r['batch']:>5} {r['split']:>6} {r['images_per_second']:>9.1f} {l['p50']:>8.3f} "
              f"{l['p95']:>8.3f} {l['p99']:>8.3f} {l['max']:>8.3f}  {f'{share:.1%}' if share else '-':>10} "
              f"{f'{accuracy:.2%}' if accuracy else '-':>8}  "
              f"{'%.1e' % errors[r['contender']] if r['contender'] in errors else '-'}")
    if plain_accuracy is not None:
        print(f"{'plain f32':<20} accuracy {plain_accuracy:.2%} on the same images")
    targets = [t for batch in args.batches for t in targets_of(args, rows, batch, plain_accuracy)]
    print()
    for t in targets:
        measured = f"{t['ratio']:.2f}, at least {t['target']}" if t["ratio"] is not None else f"at least {t['target']}"
        loss = f", {100 * t['loss']:+.2f} points of accuracy lost" if "loss" in t else ""
        why = f" ({t['why']})" if t["why"] else ""
        print(f"{t['ours']} over {t['peer']}, batch {t['batch']}: {measured}{loss} "
              f"{'reached' if t['reached'] else 'MISSED'}{why}")
    for batch, counts in operations.items():
        print(f"ONNX Runtime int8, batch {batch}: {counts.get('QLinearConv', 0)} QLinearConv, "
              f"{counts.get('QLinearAdd', 0)} QLinearAdd in its optimised graph")
    busy = max((r["machine"]["others"] + r["machine"]["stolen"] for r in rows if "machine" in r), default=0)
    if busy > 0.03:
        print(f"the machine was busy: other programs used up to {busy:.0%} of its time; these times are provisional")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(
            {"rows": rows, "plain_accuracy": plain_accuracy, "targets": targets}, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offramp", required=True)
    parser.add_argument("--node-modules", help="folder that holds onnxruntime-node; without it, only PyTorch is a peer")
    parser.add_argument("--model", help="plain ResNet-18 model file; default: random weights, 64 wide")
    parser.add_argument("--adaptive", help="model file with early exits and a policy")
    parser.add_argument("--data", help="test images, for --adaptive")
    parser.add_argument("--images", type=int, help="number of images of --data")
    parser.add_argument("--precisions", nargs="+", help="precisions of offramp; default: all that this CPU has instructions for")
    parser.add_argument("--adaptive-precisions", nargs="+", default=["int8"], help="precisions of --adaptive")
    parser.add_argument("--peers", nargs="+", default=list(TOLERANCE))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds per contender, split and round")
    parser.add_argument("--json", help="write the result to this file")
    args = parser.parse_args()
    if args.adaptive and not (args.model and args.data):
        parser.error("--adaptive needs --model, the plain network, and --data")
    args.precisions = args.precisions or [c["precision"] for c in bench(args, "--ceiling")]
    peers = [p for p in args.peers if args.node_modules or not p.startswith("ort")]

    with tempfile.TemporaryDirectory() as folder:
        files = pathlib.Path(folder)
        expected, errors = prepare(args, files)
        plain_accuracy, operations, contenders = None, {}, []
        if args.adaptive:
            plain_accuracy = bench(args, args.model, "--mode", "plain", "--precision", "f32", "--batch", 32,
                                   "--threads", args.threads, "--seconds", 0.01, *on_data(args))[0]["accuracy"]
        for batch in args.batches:
            contenders += [Ours(args, files / "model.safetensors", "plain", p, batch) for p in args.precisions]
            if args.adaptive:
                contenders += [Ours(args, args.adaptive, "adaptive", p, batch) for p in args.adaptive_precisions]
            contenders += [Peer(args, files, p, batch) for p in peers]
        opponents = [c for c in contenders if isinstance(c, Peer)]
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
        report(args, [c.rows() for c in contenders], errors, operations, plain_accuracy)
        for contender in contenders:
            contender.stop()


main()

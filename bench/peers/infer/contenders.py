"""What compare.py and bench/onnx/imported_networks.py share: offramp and its peers as contenders that run in turns.

Peers are packages in a folder of their own, which prepare() makes and whose Python runs the comparison.
"""

import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

import numpy

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["numpy", "openvino", "onnxruntime", "onnx", "pillow", "torch", "torchvision"]
# Largest accepted value of max|a - b| / max|b| for logits a of a contender and b of offramp in f32.
TOLERANCE = {"f32": 1e-3, "bf16": 0.05, "int8": 0.25}


def prepare(folder):
    """Installs the peers by name; one that cannot be had is reported and left out."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    for package in PACKAGES:
        done = subprocess.run([folder / "bin/pip", "install", "--quiet", package])
        if done.returncode:
            print(f"missing: {package} cannot be installed")


def use_python_of(folder):
    """Runs this script again with the Python of the peers' folder."""
    python = folder / "bin/python"
    if pathlib.Path(sys.prefix).resolve() != folder.resolve():
        os.execv(python, [str(python), *sys.argv])


def cpu_name():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "cpu family"))]
    return f"{names[1]} (family {names[0]})" if len(names) > 1 else platform.processor()


def difference(said, expected):
    return float(abs(said - expected).max() / abs(expected).max())


class Missing(Exception):
    """A contender that cannot take part, and why."""


class Worker:
    """A peer in its own process, which runs when it receives a command."""

    def __init__(self, command, environment):
        self.errors = pathlib.Path(f"{command[-1]}.errors")
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors.open("w"), text=True, env={**os.environ, **environment})
        self.about = self.answer()  # workers start one after the other: waiting threads of a peer use the CPU

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        said = [line for line in self.errors.read_text().splitlines() if line.strip()]
        raise Missing(said[-1] if said else "its process ended")

    def start(self, seconds):
        self.process.stdin.write(f"run {seconds}\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """An engine in one precision at one batch size, in both splits of the threads and with each of its files."""

    def __init__(self, name, batch, threads, models, folder, expected, convolutions, tolerance=None):
        """
        @param name          "ENGINE PRECISION"
        @param models        label of each variant of the network → its file; the fastest counts
        @param folder        holds images.npy; logits are written there
        @param expected      logits of offramp in f32
        @param convolutions  how many convolutions must run in the precision
        @param tolerance     by precision, instead of TOLERANCE
        @throws Missing if the engine is not there, or for each variant does not compute in the precision or gives other
                answers
        """
        self.name, self.batch, self.rates, self.latency, self.teams = name, batch, {}, {}, {}
        self.error, self.version, self.counts, self.left_out = 0, None, {}, {}
        self.tolerance = tolerance or TOLERANCE
        for label, model in models.items():
            teams = {}
            try:
                for streams, each in sorted({(1, threads), (threads, 1)}):
                    teams[f"{streams}x{each}{label}"] = self.team(label, model, streams, each, folder, expected,
                                                                  convolutions)
                self.teams |= teams
            except Missing as reason:
                self.left_out[label] = str(reason)
                stop_teams(teams)
        if not self.teams:
            raise Missing("; ".join(sorted(set(self.left_out.values()))))

    def team(self, label, model, streams, threads, folder, expected, convolutions):
        """Starts and checks the processes of a split."""
        engine, precision = self.name.split()
        # PyTorch needs a process for each stream; the others share the weights in one.
        processes, team = streams if engine == "torch" else 1, []
        # These variables keep the peer's libraries from starting more threads than requested.
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        try:
            for place in range(processes):
                logits = folder / f"{engine}-{precision}{label}-{self.batch}-{streams}-{place}.npy"
                team.append(Worker([sys.executable, HERE / "peer_worker.py", engine, precision, model, self.batch,
                                    streams // processes, threads, folder / "images.npy", logits], environment))
                counts, said = team[-1].about["convolutions"], numpy.load(logits)
                error = difference(said, expected[:len(said)])
                if counts.get(precision, 0) < convolutions:
                    raise Missing(f"its profile shows fewer than {convolutions} convolutions in {precision}: {counts}")
                if not error <= self.tolerance[precision]:
                    raise Missing(f"its answers differ by {error:.2g} of the largest logit")
        except Missing:
            stop_teams({"": team})
            raise
        self.version, self.counts[label], self.error = team[-1].about["version"], counts, max(self.error, error)
        return team

    def run(self, seconds):
        for split, team in self.teams.items():
            for worker in team:
                worker.start(seconds)
            results = [worker.answer() for worker in team]
            self.rates.setdefault(split, []).append(sum(r["images_per_second"] for r in results))
            self.latency.setdefault(split, []).append({k: max(r["latency_ms"][k] for r in results)
                                                       for k in results[0]["latency_ms"]})

    def row(self):
        split = max(self.rates, key=lambda s: statistics.median(self.rates[s]))
        latency = {k: statistics.median(l[k] for l in self.latency[split]) for k in self.latency[split][0]}
        latency["max"] = max(l["max"] for l in self.latency[split])
        return {"contender": self.name, "version": self.version, "batch": self.batch, "split": split,
                "images_per_second": statistics.median(self.rates[split]), "latency_ms": latency,
                "splits": {s: statistics.median(r) for s, r in self.rates.items()}, "logit_error": self.error,
                "convolutions": self.counts, "left_out": self.left_out}

    def stop(self):
        stop_teams(self.teams)


def stop_teams(teams):
    for team in teams.values():
        for worker in team:
            worker.stop()


class Ours:
    """offramp as a contender: runs `offramp bench` once per round."""

    def __init__(self, offramp, name, model, mode, precision, batch, threads, images, error=None):
        """
        @param images  flags that choose the images
        @param error   relative difference of its logits from those in f32, if known
        """
        self.name, self.batch, self.results, self.error = name, batch, [], error
        self.command = [*offramp, "bench", model, "--mode", mode, "--precision", precision, "--batch", batch,
                        "--threads", threads, "--json", *images]

    def run(self, seconds):
        self.results.append(run_json([*self.command, "--seconds", seconds])[0])

    def row(self):
        # offramp times the faster split only; it is the one that was faster most often.
        split = statistics.mode(f"{r['streams']}x{r['threads_each']}" for r in self.results)
        timed = [r for r in self.results if split == f"{r['streams']}x{r['threads_each']}"]

        def middle(key):
            known = [r[key] for r in timed if r[key] is not None]
            return statistics.median(known) if known else None
        latency = {k: statistics.median(r["latency_ms"][k] for r in timed) for k in ("p50", "p95", "p99")}
        latency["max"] = max(r["latency_ms"]["max"] for r in timed)
        busy = max(self.results, key=lambda r: r["machine"]["others"] + r["machine"]["stolen"])
        return {"contender": self.name, "version": timed[0]["kernels"], "batch": self.batch, "split": split,
                "images_per_second": middle("images_per_second"), "latency_ms": latency,
                "splits": self.splits(), "logit_error": self.error,
                "share_of_ceiling": middle("share_of_ceiling"), "accuracy": timed[0]["accuracy"],
                "relative_cost": timed[0]["relative_cost"], "rounds": len(timed), "machine": busy["machine"]}

    def splits(self):
        rates = {}
        for result in self.results:
            for one in (result, result["other_split"]):
                if one:
                    rates.setdefault(f"{one['streams']}x{one['threads_each']}", []).append(one["images_per_second"])
        return {split: statistics.median(values) for split, values in rates.items()}

    def stop(self):
        pass


def run_json(command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run_in_turns(contenders, rounds, seconds):
    """Runs all contenders forwards and backwards. Returns a row for each."""
    for turn in range(rounds):
        for contender in contenders if turn % 2 == 0 else contenders[::-1]:
            contender.run(seconds)
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return [c.row() for c in contenders]


def print_rows(rows, missing):
    """Prints the table of contenders, their versions and what is missing."""
    print(f"CPU: {cpu_name()}, {os.cpu_count()} cores")
    for name, version in {r["contender"].split()[0] if "convolutions" in r else "offramp": r["version"]
                          for r in rows}.items():
        print(f"{name}: {version}")
    print(f"{'contender':<24} {'batch':>5} {'split':>10} {'images/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} "
          f"{'max ms':>8} {'logit error':>11}  convolutions in its profile, or share of the ceiling and accuracy; splits")
    for r in rows:
        l, error = r["latency_ms"], r["logit_error"]
        if "convolutions" in r:
            notes = ", ".join(f"{label}{': ' if label else ''}{json.dumps(counts)}" for label, counts in r["convolutions"].items())
            notes += "".join(f", {label} left out: {why}" for label, why in r["left_out"].items())
        else:
            share, accuracy = r["share_of_ceiling"], r["accuracy"]
            notes = ", ".join(([f"{share:.1%}"] if share else []) + ([f"accuracy {accuracy:.2%}"] if accuracy else []))
        splits = ", ".join(f"{split} {rate:.1f}" for split, rate in sorted(r["splits"].items()))
        print(f"{r['contender']:<24} {r['batch']:>5} {r['split']:>10} {r['images_per_second']:>9.1f} {l['p50']:>8.3f} "
              f"{l['p95']:>8.3f} {l['p99']:>8.3f} {l['max']:>8.3f} {'-' if error is None else f'{error:.1e}':>11}  "
              f"{notes}; {splits}")
    for name, why in missing.items():
        print(f"missing: {name}: {why}")
    busy = max((r["machine"]["others"] + r["machine"]["stolen"] for r in rows if "machine" in r), default=0)
    if busy > 0.03:
        print(f"the machine was busy: other programs used up to {busy:.0%} of its time; these times are provisional")


def print_targets(rows, targets):
    """Prints the ratio for each (contender of offramp, peers, at least, aim), at each batch size. Returns them."""
    found = []
    for batch in sorted({r["batch"] for r in rows}):
        rate = {r["contender"]: r["images_per_second"] for r in rows if r["batch"] == batch}
        for ours, peers, least, aim in targets:
            present = [p for p in peers if p in rate]
            if ours not in rate or not present:
                print(f"{ours} over {' or '.join(peers)}, batch {batch}: not measured")
                continue
            best = max(present, key=rate.get)
            ratio = rate[ours] / rate[best]
            word = "aim reached" if ratio >= aim else "reached" if ratio >= least else "MISSED"
            print(f"{ours} over {best}, batch {batch}: {ratio:.2f}, at least {least}, aim {aim}: {word}")
            found.append({"ours": ours, "peer": best, "batch": batch, "ratio": ratio, "least": least, "aim": aim})
    return found

#!/usr/bin/env python3
"""Measures a trained model and prints the tables of its card as Markdown.

    bench/models/card.py models/cifar10-3-exits.safetensors --data data                     # all but speed
    bench/models/card.py models/cifar10-3-exits.safetensors --data data --tables speed      # on a quiet machine

Every figure comes from a run of the program: `offramp test`, `data export --corrupt` and `bench`. The test images are
not used to choose anything. --plain PLAIN.safetensors compares the policy with the plain network on the same images.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

KINDS = ["gaussian_noise", "gaussian_blur", "brightness", "contrast"]


def offramp(flags, *arguments):
    command = [str(flags.offramp), *map(str, arguments)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: ended with {ended.returncode}")
    return ended.stdout


def test(flags, data):
    if data not in flags.results:  # several tables read the same one
        compare = ["--compare", flags.plain] if flags.plain and data == flags.data else []
        flags.results[data] = json.loads(offramp(flags, "test", flags.model, "--data", data, "--json", *compare))
    return flags.results[data]


def percent(rate, digits=2):
    return f"{100 * rate:.{digits}f}"


def interval(low_high, sign=""):
    return " … ".join(f"{100 * value:{sign}.2f}".replace("-", "−") for value in low_high)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def accuracy(flags):
    result = test(flags, flags.data)
    row("", "accuracy, % (95 % interval)", "NLL", "ECE", "relative cost")
    row(*["---"] * 5)
    for one in result["exits"]:
        row(f"exit {one['exit']}", f"{percent(one['accuracy'])} ({interval(one['accuracy_interval'])})",
            f"{one['nll']:.3f}", f"{one['ece']:.3f}", f"{one['relative_cost']:.3f}")
    policy = result["policy"]
    if policy:
        row("**its policy, executed**", f"**{percent(policy['accuracy'])}** ({interval(policy['accuracy_interval'])})",
            "", "", f"**{policy['relative_cost']:.3f}**")
        print(f"\nImages stop at exits 1, 2, …: {', '.join(percent(share, 1) for share in policy['shares'])} %; "
              f"harm {percent(policy['harm'])} %, help {percent(policy['help'])} %.")
    print("\nEnsembles of all exits, %: " +
          ", ".join(f"{name} {percent(value)}" for name, value in result["ensembles"].items()) + ".")
    thinking = result["overthinking"]
    print(f"Overthinking: wasteful {percent(thinking['wasteful'])} %, destructive {percent(thinking['destructive'])} % "
          f"({percent(thinking['destroyed_errors'] or 0, 1)} % of the last exit's errors), oracle "
          f"{percent(thinking['oracle'])} %; an image that some exit classifies correctly needs "
          f"{thinking['needed_cost'] or 0:.3f} on average.\n")
    row("beside it", "accuracy, %", "relative cost", f"{'policy' if policy else 'last exit'} less this, points")
    row(*["---"] * 4)
    for one in result["controls"]:
        row(one["name"], percent(one["accuracy"]), f"{one['relative_cost']:.3f}",
            f"{100 * one['difference']:+.2f} ({interval(one['difference_interval'], '+')})".replace("-", "−"))


def overthinking(flags):
    result = test(flags, flags.data)
    thinking = result["overthinking"]
    exits = range(1, len(result["exits"]) + 1)
    row("class", "images", "errors of the last exit", "correct at an earlier exit", "of the errors, %",
        *(f"first correct at exit {k}" for k in exits), "at none")
    row(*["---"] * (6 + len(exits)))
    names = ["images", "errors", "destructive"]
    classes = sorted(thinking["classes"], key=lambda one: -one["destructive"] / max(1, one["images"]))
    everything = {name: sum(one[name] for one in classes) for name in names}
    everything |= {"class": "**all**", "first_correct": [sum(k) for k in zip(*(one["first_correct"] for one in classes))]}
    for one in [everything] + classes:
        row(one["class"], *(f"{one[name]:,}" for name in names), percent(one["destructive"] / max(1, one["errors"]), 1),
            *(f"{count:,}" for count in one["first_correct"]), f"{one['images'] - sum(one['first_correct']):,}")


def corrupted(flags):
    exits = ", ".join(str(k + 1) for k in range(len(test(flags, flags.data)["exits"])))
    row("", f"exits {exits} alone, %", "policy, %", "relative cost", "harm, %", f"stop at exits {exits}, %",
        "drift flag (stop at other exits)")
    row(*["---"] * 7)
    with tempfile.TemporaryDirectory() as folder:
        for name in [None] + [f"{kind}:{severity}" for kind in KINDS for severity in (1, 3, 5)]:
            source = flags.data
            if name:
                source = pathlib.Path(folder) / name.replace(":", "-")
                offramp(flags, "data", "export", flags.data, "--part", "test", "--per-class", 100000, "--corrupt", name,
                        "--out", source / "test")
            result = test(flags, source)
            policy = result["policy"]
            if policy is None:
                raise SystemExit(f"{flags.model}: the model has no policy; run offramp calibrate")
            drift = policy["drift"] or {"flag": "unknown", "distance": float("nan")}
            flag = "**drifted**" if drift["flag"] == "drifted" else drift["flag"]
            row(f"`{name}`" if name else "as they are",
                ", ".join(percent(one["accuracy"], 1) for one in result["exits"]), percent(policy["accuracy"], 1),
                f"{policy['relative_cost']:.3f}", percent(policy["harm"]),
                ", ".join(percent(share, 1) for share in policy["shares"]),
                f"{flag} ({percent(drift['distance'], 1)} %)")


def speed(flags):
    rows = json.loads(offramp(flags, "bench", flags.model, "--data", flags.data, "--json", "--batch", "1,32",
                              "--precision", "int8,f32"))
    load = rows[0]["machine"]
    print(f"Other work took {percent(load['others'], 1)} % of the cores, the host {percent(load['stolen'], 1)} %.\n")
    row("", "", "batch 1: images/s", "p50, ms", "p95, ms", "p99, ms", "worst, ms", "batch 32: images/s")
    row(*["---"] * 8)
    for precision in ("int8", "f32"):
        for mode, name in (("adaptive", "its policy"), ("plain", "plain")):
            both = [r for batch in (1, 32) for r in rows
                    if (r["precision"], r["mode"], r["batch"]) == (precision, mode, batch)]
            if len(both) < 2:
                continue  # a model without a policy has no adaptive row
            one, many = both
            latency = one["latency_ms"]
            row(precision, name, f"{one['images_per_second']:,.0f}",
                *(f"{latency[key]:.3f}" for key in ("p50", "p95", "p99")), f"{latency['max']:.1f}",
                f"{many['images_per_second']:,.0f}")


TABLES = {"accuracy": accuracy, "overthinking": overthinking, "corrupted": corrupted, "speed": speed}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="the data set it was trained on")
    parser.add_argument("--offramp", default="build/release/offramp", type=pathlib.Path)
    parser.add_argument("--plain", help="the plain network to compare the policy with")
    parser.add_argument("--tables", nargs="+", default=["accuracy", "overthinking", "corrupted"], choices=list(TABLES))
    flags = parser.parse_args()
    flags.results = {}
    flags.offramp = flags.offramp.resolve()
    for name in flags.tables:
        print(f"## {name}\n")
        TABLES[name](flags)
        print()


if __name__ == "__main__":
    main()

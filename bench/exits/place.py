#!/usr/bin/env python3
"""Compares exits placed by `offramp exits` with exits placed by hand, at equal training, and prints Markdown tables.

    bench/exits/place.py runs/plain --data data --recipe configs/cifar10-3-exits-deep.toml -o runs/places

For each seed of the heads, the plain network stays frozen and gets

- the exits that `offramp exits` chooses for --max-accuracy-drop among --heads,
- the exits of the recipe, with heads trained in the same way,
- the exits of the recipe with plain `spp` heads, what a frozen network had before,

and each is calibrated for the same drop. With --joint-epochs, both kinds are then trained as a whole by the recipe for so
many epochs. All are tested on the test images, with paired intervals to the plain network; these images choose nothing.
The first table also has the seconds of the heads' trainings: run it where nothing else runs, and name the CPU.
Results are kept in the output folder, and a second call goes on from there.
"""

import argparse
import json
import pathlib
import subprocess


def offramp(flags, *arguments):
    command = [str(flags.offramp), *map(str, arguments)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: ended with {ended.returncode}")
    return ended.stdout


def settings(flags, seed):
    """The settings of every training of heads, as flags."""
    return [part for key in [f"train.seed={seed}", *flags.set] for part in ("--set", key)]


def head_training(folder):
    """The settings by which `offramp exits` trained heads, and the seconds that it took."""
    lines = (folder / "heads" / "config.toml").read_text().splitlines()
    wanted = {"epochs", "batch", "optimizer", "lr", "momentum", "weight_decay", "schedule", "warmup", "first_scale",
              "ema", "label_smoothing", "precision"}
    table, chosen = "", []
    for line in lines:
        if line.startswith("["):
            table = line.strip("[]")
        key, _, value = line.partition(" = ")
        if (table == "train" and key in wanted) or table == "augment":
            chosen.append(f"{table}.{key}={value.strip(chr(34))}")
    last = (folder / "heads" / "metrics.jsonl").read_text().splitlines()[-1]
    return chosen, json.loads(last)["seconds"]


def train_by_hand(flags, folder, recipe_settings, *more):
    if not (folder / "model.safetensors").exists():
        offramp(flags, "train", flags.recipe, "--data", flags.data, "--from", flags.plain, "-o", folder, *more,
                *[part for key in recipe_settings for part in ("--set", key)])
    last = (folder / "metrics.jsonl").read_text().splitlines()[-1]
    return json.loads(last)["seconds"]


def tested(flags, folder):
    """Calibrates a network and tests its policy. @return the JSON of `offramp test`"""
    file = folder / "test.json"
    if not file.exists():
        model = folder / "calibrated.safetensors"
        offramp(flags, "calibrate", folder, "--data", flags.data, "-o", model,
                "--max-accuracy-drop", flags.max_accuracy_drop)
        file.write_text(offramp(flags, "test", model, "--data", flags.data, "--compare", flags.plain, "--json"))
    return json.loads(file.read_text())


def print_row(plain_name, name, seed, seconds, result):
    policy = result["policy"]
    plain = next(one for one in result["controls"] if one["name"].startswith(plain_name))
    low, high = plain["difference_interval"]
    exits = " / ".join(f"{100 * one['accuracy']:.1f}" for one in result["exits"])
    print(f"| {name} | {seed} | {seconds:.0f} | {exits} | {100 * policy['accuracy']:.2f} | "
          f"{100 * low:+.2f} … {100 * high:+.2f} | {policy['relative_cost']:.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain", type=pathlib.Path, help="run folder or model file of the plain network")
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", type=pathlib.Path, required=True, help="recipe with the exits placed by hand")
    parser.add_argument("-o", "--out", type=pathlib.Path, required=True)
    parser.add_argument("--offramp", type=pathlib.Path, default="build/release/offramp")
    parser.add_argument("--heads", default="spp,conv-spp,deep-spp")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--max-accuracy-drop", default="0.005")
    parser.add_argument("--joint-epochs", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a key of the recipe of the heads")
    flags = parser.parse_args()

    print("| exits | seed | seconds of heads | accuracy of the exits, % | policy, % | to plain, points (95 %) | cost |")
    print("|---|---|---|---|---|---|---|")
    for seed in flags.seeds.split(","):
        auto = flags.out / f"auto-{seed}"
        if not (auto / "exits.json").exists():
            offramp(flags, "exits", flags.plain, "--data", flags.data, "-o", auto, "--heads", flags.heads,
                    "--max-accuracy-drop", flags.max_accuracy_drop, "--json", *settings(flags, seed))
        training, seconds = head_training(auto)
        print_row(flags.plain.stem, "chosen", seed, seconds, tested(flags, auto))
        frozen = ["train.mode=frozen", "train.loss_weights=[]", f"train.seed={seed}", *training]
        for name, more in [("by hand", []), ("by hand, spp", ["--head", "spp"])]:
            folder = flags.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            seconds = train_by_hand(flags, folder, frozen, *more)
            print_row(flags.plain.stem, name, seed, seconds, tested(flags, folder))
        if flags.joint_epochs == 0:
            continue
        joint = [f"train.seed={seed}", f"train.epochs={flags.joint_epochs}", "train.loss_weights=[]"]
        for name, start, more in [("chosen, joint", auto, ["network.exits=from"]),
                                  ("by hand, joint", flags.out / f"by-hand-{seed}", [])]:
            folder = flags.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            if not (folder / "model.safetensors").exists():
                offramp(flags, "train", flags.recipe, "--data", flags.data, "--from", start, "-o", folder,
                        *[part for key in [*joint, *more] for part in ("--set", key)])
            last = (folder / "metrics.jsonl").read_text().splitlines()[-1]
            print_row(flags.plain.stem, name, seed, json.loads(last)["seconds"], tested(flags, folder))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures whether a learned criterion stops images better than the confidence alone.

    offramp test MODEL --data DATA --part tune --save-logits tune.safetensors
    offramp test MODEL --data DATA --save-logits test.safetensors
    bench/policy/learned_criterion.py --tune tune.safetensors --test test.safetensors --costs 0.190,0.585,1.068

The learned criterion of exit k is the probability that stopping there does no harm (as EENet, Ilhan et al., 2024,
and Kubaty et al., 2026, learn when to stop): logit(confidence) + w · features, with at most four features of the
logits of the exits so far: log of the largest over the second largest probability, entropy, largest logit (from the
second exit on the probability that the exit before gave this class), and whether the exit before agrees. The
weights w are fitted on the tune images by logistic regression with an L2 penalty that ten-fold cross-validation
chooses; with w = 0 the criterion is the confidence. Both criteria then get a path of thresholds from the tune
images, as `offramp calibrate` does, and are compared on the test images at equal mean cost. Nothing is chosen on
the test images. Needs numpy and scipy.
"""
import argparse
import json
import pathlib
import struct

import numpy as np
from scipy.optimize import minimize

PENALTIES = [1e9, 1000, 300, 100, 30, 10, 3, 1, 0.3]
LEVELS = 200  # quantiles of an exit's scores that its threshold takes along a path


def load(path):
    """Returns the logits [K, N, classes] and the labels [N] of a file of `offramp test --save-logits`."""
    content = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])

    def tensor(name, dtype):
        begin, end = (8 + length + at for at in header[name]["data_offsets"])
        return np.frombuffer(content[begin:end], dtype).reshape(header[name]["shape"])

    return tensor("logits", "<f4").astype(float), tensor("labels", "<i8")


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def logit(p):
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def fit_temperatures(logits, labels):
    images = np.arange(len(labels))
    return [float(np.exp(minimize(lambda t, z=z: -log_softmax(z / np.exp(t[0]))[images, labels].mean(), [0.1]).x[0]))
            for z in logits]


def features_of(logits, temperatures, exit_index):
    """Returns the confidence [N] and the features [N, 3 or 4] of an exit (0-based)."""
    p = [np.exp(log_softmax(z / t)) for z, t in zip(logits[:exit_index + 1], temperatures)]
    here = p[-1]
    ordered = np.sort(here, -1)
    answers = here.argmax(-1)
    columns = [np.log(ordered[:, -1] + 1e-9) - np.log(ordered[:, -2] + 1e-9), -(here * np.log(here + 1e-12)).sum(-1)]
    if exit_index == 0:
        columns.append(logits[0].max(-1))
    else:
        columns.append(np.log(p[-2][np.arange(len(answers)), answers] + 1e-6))
        columns.append((p[-2].argmax(-1) == answers) * 1.0)
    return ordered[:, -1], np.stack(columns, 1)


def loss(w, offset, x, good):
    return np.logaddexp(0, -(offset + x @ w[1:] + w[0]) * (2 * good - 1))


def fit(offset, x, good, penalty):
    def objective(w):
        error = 1 / (1 + np.exp(-(offset + x @ w[1:] + w[0]))) - good
        return (loss(w, offset, x, good).sum() + penalty * (w[1:] ** 2).sum(),
                np.r_[error.sum(), x.T @ error + 2 * penalty * w[1:]])
    return minimize(objective, np.zeros(x.shape[1] + 1), jac=True).x


def cross_validated_loss(offset, x, good, penalty):
    fold = np.arange(len(good)) % 10
    return np.mean([loss(fit(offset[fold != f], x[fold != f], good[fold != f], penalty),
                         offset[fold == f], x[fold == f], good[fold == f]).mean() for f in range(10)])


def exits_taken(scores, thresholds):
    taken = np.full(len(scores[0]), len(scores))
    for k in reversed(range(len(scores))):
        taken[scores[k] >= thresholds[k]] = k
    return taken


def greedy_path(scores, harm, costs):
    """Thresholds that fall one quantile of one exit at a time, where most cost is saved per harmed image."""
    early, images = len(scores), len(scores[0])
    quantiles = [np.sort(s)[::-1][images * np.arange(1, LEVELS + 1) // LEVELS - 1] for s in scores]
    path, level = [[np.inf] * early], [0] * early
    while True:
        now = exits_taken(scores, path[-1])
        best = None
        for k in range(early):
            if level[k] == LEVELS:
                continue
            ahead = range(level[k] + 1, LEVELS + 1, 1 if LEVELS - level[k] < 20 else 4)
            gain = 0
            for to in ahead:
                then = exits_taken(scores, [*path[-1][:k], quantiles[k][to - 1], *path[-1][k + 1:]])
                lost = harm[then, np.arange(images)].sum() - harm[now, np.arange(images)].sum()
                gain = max(gain, (costs[now].sum() - costs[then].sum()) / (max(0, lost) + 1))
            if best is None or gain > best[0]:
                best = (gain, k)
        if best is None:
            return path
        k = best[1]
        path.append([*path[-1][:k], quantiles[k][level[k]], *path[-1][k + 1:]])
        level[k] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--tune", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--costs", required=True, help="relative cost of each exit, separated by commas")
    parser.add_argument("--at", default="0.3,0.35,0.4,0.45,0.5,0.6", help="mean costs to compare at")
    flags = parser.parse_args()
    costs = np.array([float(c) for c in flags.costs.split(",")])
    tune, tune_labels = load(flags.tune)
    test, test_labels = load(flags.test)
    if not len(costs) == len(tune) == len(test):
        raise SystemExit(f"{len(costs)} costs for logits of {len(tune)} and {len(test)} exits")
    temperatures = fit_temperatures(tune, tune_labels)
    right = tune.argmax(-1) == tune_labels
    harm = right[-1] & ~right

    confidence = {"tune": [], "test": []}
    learned = {"tune": [], "test": []}
    for k in range(len(costs) - 1):
        at_tune, x = features_of(tune, temperatures, k)
        at_test, x_test = features_of(test, temperatures, k)
        mean, deviation = x.mean(0), x.std(0) + 1e-9
        x, x_test, good = (x - mean) / deviation, (x_test - mean) / deviation, 1.0 - harm[k]
        losses = [cross_validated_loss(logit(at_tune), x, good, penalty) for penalty in PENALTIES]
        penalty = PENALTIES[int(np.argmin(losses))]
        w = fit(logit(at_tune), x, good, penalty)
        print(f"exit {k + 1}: {int(harm[k].sum())} of {len(good)} tune images harmed, loss {losses[0]:.4f} with w = 0, "
              f"{min(losses):.4f} with penalty {penalty:g}, w {np.round(w[1:], 2).tolist()}")
        confidence["tune"].append(at_tune)
        confidence["test"].append(at_test)
        learned["tune"].append(logit(at_tune) + x @ w[1:])
        learned["test"].append(logit(at_test) + x_test @ w[1:])

    curves = []
    test_right = test.argmax(-1) == test_labels
    for scores in (confidence, learned):
        taken = [exits_taken(scores["test"], step) for step in greedy_path(scores["tune"], harm, costs)]
        curves.append([(costs[t].mean(), test_right[t, np.arange(len(t))]) for t in taken])
    print("\n| relative cost | confidence, % | learned, % | learned − confidence, points (95 % interval, paired) |")
    print("|---|---|---|---|")
    for cost in (float(c) for c in flags.at.split(",")):
        ours, theirs = (min(curve, key=lambda step, c=cost: abs(step[0] - c)) for curve in curves)
        difference = theirs[1].astype(int) - ours[1]
        width = 196 * difference.std() / len(difference) ** 0.5
        mean = 100 * difference.mean()
        print(f"| {ours[0]:.3f}, {theirs[0]:.3f} | {100 * ours[1].mean():.2f} | {100 * theirs[1].mean():.2f} | "
              f"{mean:+.2f} ({mean - width:+.2f} … {mean + width:+.2f}) |")


if __name__ == "__main__":
    main()

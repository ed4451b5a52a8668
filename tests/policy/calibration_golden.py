"""Prints the golden values of calibration_test.cpp and binomial_test.cpp. It is independent of
the C++ code: numpy computes the logits, every choice is found by trying all possibilities, and
mpmath computes binomial sums with 50 digits.

    python3 tests/policy/calibration_golden.py
"""
import itertools

import numpy as np
from mpmath import mp, mpf

mp.dps = 50
K, N, C = 3, 150, 10
COSTS = [0.3, 0.6, 1.0]

k, n, c = np.meshgrid(np.arange(K), np.arange(N), np.arange(C), indexing="ij")
noise = ((k + 1) * 7919 + (n + 1) * 104729 + (c + 1) * 1299709 + (n + 3) * (c + 5) * (k + 2) * 613) % 997
labels = (np.arange(N) * 31 + 7) % C
logits = noise / 997.0 * 4.0 - 2.0
logits += (c == labels[n]) * (n % 7 > 2 - k) * (k + 1) ** 2
logits = logits.astype(np.float32)
z = logits.astype(np.float64)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def temperature(x):
    """Bisection of the derivative of the likelihood by b = 1 / T."""
    low, high = 0.01, 100.0
    for _ in range(200):
        b = 0.5 * (low + high)
        slope = ((softmax(b * x) * x).sum(-1) - x[np.arange(N), labels]).mean()
        low, high = (b, high) if slope < 0 else (low, b)
    return 1 / low


temperatures = [temperature(z[e]) for e in range(K)]
print("temperatures", *map("{:.12g}".format, temperatures))
p = np.stack([softmax(z[e] / np.float64(np.float32(temperatures[e]))) for e in range(K)])


def log_likelihood(weights):
    return np.log(np.tensordot(weights, p, 1)[np.arange(N), labels]).mean()


# The likelihood is concave: ever finer grids around the best so far.
best, step = np.array([1 / 3, 1 / 3]), 0.3
while step > 1e-9:
    tries = [best + step * np.array(d) for d in itertools.product((-1, -0.5, 0, 0.5, 1), repeat=2)]
    tries = [t for t in tries if t.min() >= 0.001 and t.sum() <= 0.999]
    winner = max(tries, key=lambda t: log_likelihood([*t, 1 - t.sum()]))
    step = step * 0.5 if np.array_equal(winner, best) else step
    best = winner
print("ensemble weights {:.7f} {:.7f} {:.7f}".format(*best, 1 - best.sum()))

answers = z.argmax(-1)
right = answers == labels
scores = p.max(-1).astype(np.float32)


def outcome(thresholds, good):
    stops = np.full(N, K - 1)
    for e in reversed(range(K - 1)):
        stops[scores[e] >= thresholds[e]] = e
    return int(good[stops, np.arange(N)].sum()), float(np.array(COSTS)[stops].mean())


levels = [np.append(np.unique(scores[e]), np.inf) for e in range(K - 1)]
shared = [((t, t), *outcome((t, t), right)) for t in np.unique(np.concatenate(levels))]
each = [(t, *outcome(t, right)) for t in itertools.product(*levels)]
print("right per exit", right.sum(1).tolist())
least = int(right[-1].sum()) - 3
for name, choices in (("shared", shared), ("each", each)):
    cheapest = min((x for x in choices if x[1] >= least), key=lambda x: (x[2], -x[1]))
    print(name, "cheapest with", least, "right:", cheapest[1], "{:.9f}".format(cheapest[2]))
    surest = max((x for x in choices if x[2] <= 0.5 + 1e-12), key=lambda x: (x[1], -x[2]))
    print(name, "most right at cost 0.5:", surest[1], "{:.9f}".format(surest[2]))
for t in (0.15, 0.3):
    harmless = (answers == answers[-1]) | ~right[-1]
    good, cost = outcome((np.float32(t),) * 2, right)
    print("threshold", t, "right", good, "harmed", N - outcome((np.float32(t),) * 2, harmless)[0], "{:.9f}".format(cost))


def cdf(count, trials, rate):
    total, rate = mpf(0), mpf(rate)
    term = mp.exp(mp.loggamma(trials + 1) - mp.loggamma(count + 1) - mp.loggamma(trials - count + 1)
                  + count * mp.log(rate) + (trials - count) * mp.log(1 - rate))
    for i in range(count, -1, -1):
        total += term
        if term < total * mpf(10) ** -40:
            break
        term *= i * (1 - rate) / ((trials - i + 1) * rate)
    return total


def upper(count, trials, delta):
    low, high = mpf(0), mpf(1)
    for _ in range(160):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(count, trials, middle) > delta else (low, middle)
    return high


for case in ((3, 10**6, 1e-6), (19800, 10**6, 0.02), (498000, 10**6, 0.5), (400, 10**6, 0.0005), (9, 10**6, 1e-4)):
    print("cdf", case, mp.nstr(cdf(*case), 17))
for case in ((0, 10**6, 0.05), (40, 10**4, 0.045), (19800, 10**6, 1e-9), (3, 4000, 1e-30), (80, 100, 0.9)):
    print("upper", case, mp.nstr(upper(*case), 17))
# From below by symmetry: the rest of the images, counted from the other side.
for case in ((1, 10**6, 0.025), (40, 10**4, 0.01)):
    print("lower", case, mp.nstr(1 - upper(case[1] - case[0], case[1], case[2]), 17))

"""Prints the golden values of metrics_test.cpp, computed with numpy from the same formula for the
logits. It is independent of the C++ code: every metric is computed from its definition.

    python3 tests/eval/metrics_golden.py
"""
import numpy as np

K, N, C = 3, 200, 10
WEIGHTS = np.array([0.5, 2.0, 0.25])

k, n, c = np.meshgrid(np.arange(K), np.arange(N), np.arange(C), indexing="ij")
noise = ((k + 1) * 7919 + (n + 1) * 104729 + (c + 1) * 1299709 + (n + 3) * (c + 5) * (k + 2) * 613) % 997
labels = (np.arange(N) * 31 + 7) % C
logits = noise / 997.0 * 4.0 - 2.0
logits += (c == labels[n]) * (n % 7 > 2 - k) * (k + 1) ** 2
logits = logits.astype(np.float32)

z = logits.astype(np.float64)
p = np.exp(z - z.max(-1, keepdims=True))
p /= p.sum(-1, keepdims=True)
right = z.argmax(-1) == labels
confidence = p.max(-1)


def wilson(successes, total, quantile=1.959963984540054):
    rate, q2 = successes / total, quantile * quantile
    half = quantile * np.sqrt(rate * (1 - rate) / total + q2 / (4 * total * total))
    return (rate + q2 / (2 * total) - half) / (1 + q2 / total), (rate + q2 / (2 * total) + half) / (1 + q2 / total)


for exit_index in range(K):
    edges = np.arange(1, 15) / 15
    bins = np.searchsorted(edges, confidence[exit_index], side="left")
    ece = sum(
        abs(right[exit_index][bins == b].mean() - confidence[exit_index][bins == b].mean()) * (bins == b).mean()
        for b in range(15) if (bins == b).any())
    nll = -np.log(p[exit_index, np.arange(N), labels]).mean()
    sure = [int((right[exit_index] & (confidence[exit_index] > level)).sum()) for level in (0.9, 0.99, 0.999)]
    print("exit", exit_index + 1, int(right[exit_index].sum()), *map("{:.15g}".format, wilson(right[exit_index].sum(), N)),
          "{:.15g} {:.15g}".format(nll, ece), sure)
for name, scores in (("mean", p.mean(0)), ("geometric", np.log(p).mean(0)),
                     ("weighted", np.tensordot(WEIGHTS, p, 1))):
    print(name, int((scores.argmax(-1) == labels).sum()))
earlier, last = right[:-1].any(0), right[-1]
print("overthinking", int((earlier & last).sum()), int((earlier & ~last).sum()), int((earlier | last).sum()))
confusion = np.zeros((C, C), int)
np.add.at(confusion, (labels, z[0].argmax(-1)), 1)
print("confusion of exit 1, rows 0 and 1", confusion[:2].tolist())

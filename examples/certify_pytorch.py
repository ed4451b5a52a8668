"""Certifies and reports on a multi-exit network of PyTorch, from its logits alone.

    pip install torch . && python examples/certify_pytorch.py [REPORT.html]

The network below knows nothing of offramp. It is trained here, in a few seconds where a core is
free, on images made here: bars in eight directions under noise. Any other network works the same way: compute the logits of
all exits on three sets of images that it was not trained on, and say what each exit costs.
"""

import sys

import numpy as np
import torch
from torch import nn

import offramp
from offramp import metrics, policy

CLASSES = [f"bar at {180 * k / 8:g} degrees" for k in range(8)]
SIZE = 16


class MultiExitNetwork(nn.Module):
    """Three blocks of convolutions, with a classifier after each."""

    def __init__(self):
        super().__init__()
        channels = [1, 16, 32, 64]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels[k], channels[k + 1], 3, stride=1 + (k > 0), padding=1),
                nn.BatchNorm2d(channels[k + 1]),
                nn.ReLU(),
                nn.Conv2d(channels[k + 1], channels[k + 1], 3, padding=1),
                nn.BatchNorm2d(channels[k + 1]),
                nn.ReLU(),
            )
            for k in range(3)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * c, len(CLASSES)))
            for c in channels[1:]
        )

    def forward(self, x):
        logits = []
        for block, head in zip(self.blocks, self.heads):
            x = block(x)
            logits.append(head(x))
        return logits


def make_images(count, seed):
    """Bars, each under noise of its own strength: float32 [N, 1, 16, 16] and labels [N]."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    angle = np.pi * labels / len(CLASSES) + random.normal(0, 0.06, count)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    shift = random.uniform(-3, 3, (count, 1, 1))
    distance = np.abs(
        x * np.sin(angle)[:, None, None] - y * np.cos(angle)[:, None, None] + shift
    )
    noise = random.normal(size=(count, SIZE, SIZE)) * random.uniform(0, 0.9, (count, 1, 1))
    images = (np.exp(-(distance**2)) + noise).astype(np.float32)
    return torch.from_numpy(images[:, None]), torch.from_numpy(labels)


def train(network, images, labels, epochs=3, batch=100):
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            loss = sum(
                nn.functional.cross_entropy(logits, labels[chosen])
                for logits in network(images[chosen])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()


@torch.no_grad()
def logits_of(network, images):
    """[K][N, classes]"""
    parts = [network(part) for part in images.split(500)]
    return [torch.cat(of_exit) for of_exit in zip(*parts)]


def relative_costs(network):
    """Multiply-accumulates up to each exit, heads on the way included, divided by those of the
    network without early exits."""
    macs = {}
    hooks = [
        module.register_forward_hook(
            lambda module, _, out: macs.__setitem__(
                module, module.weight.numel() * (out.shape[2] * out.shape[3] if out.dim() == 4 else 1)
            )
        )
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    network(torch.zeros(1, 1, SIZE, SIZE))
    for hook in hooks:
        hook.remove()
    count = lambda part: sum(macs[module] for module in part.modules() if module in macs)
    blocks = [count(block) for block in network.blocks]
    heads = [count(head) for head in network.heads]
    plain = sum(blocks) + heads[-1]
    return np.cumsum(np.add(blocks, heads)) / plain


def main(report="report.html"):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = MultiExitNetwork()
    train(network, *make_images(2500, seed=1))

    # Tune: for every choice. Certify: for the certificate alone. Test: looked at last.
    tune, certify, test = (make_images(n, seed) for seed, n in ((2, 1000), (3, 3000), (4, 1000)))
    tune_logits = logits_of(network, tune[0])
    costs = relative_costs(network)
    result = policy.certify(
        tune_logits, tune[1], logits_of(network, certify[0]), certify[1], costs, epsilon=0.02
    )
    print(result.policy)
    print(f"certified: {result.statement}" if result.holds else "nothing could be certified")

    test_logits = logits_of(network, test[0])
    measured = metrics.measure_policy(result.policy, test_logits, test[1], costs)
    last = metrics.measure(test_logits, test[1]).exits[-1]
    print(f"last exit  accuracy {last.accuracy:.3f}  relative cost {costs[-1]:.3f}")
    print(
        f"policy     accuracy {measured.accuracy:.3f}  relative cost {measured.relative_cost:.3f}  "
        f"harm {measured.harm:.4f}"
    )
    pixels = (test[0][:, 0].clip(0, 1) * 255).byte().numpy()
    offramp.report(
        test_logits, test[1], costs,
        policy=result, tune_logits=tune_logits, tune_labels=tune[1],
        images=np.repeat(pixels[..., None], 3, axis=3), classes=CLASSES,
        title="a multi-exit network of PyTorch", data="bars under noise", path=report,
    )  # fmt: skip
    print(f"report: {report}")
    return result, measured


if __name__ == "__main__":
    main(*sys.argv[1:])

"""An efficient PyTorch training loop of the same 3-exits SPP ResNet-18, to compare offramp with.

Data and augmentation are tensors (one gather per batch) with channels last. Autocast to bf16 is used if requested,
SGD with Nesterov momentum is used in its multi-tensor form, and there is no synchronisation within an epoch. The
program prints images per second of one epoch, the first step included. With --bare it prints those of the network's
convolutions alone (forward and backward), which is an upper bound for any training loop on PyTorch.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                            nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut, inplace=True)


class SpatialPyramid(nn.Module):
    def __init__(self, channels, classes, levels=(1, 2, 4)):
        super().__init__()
        self.levels = levels
        self.fc = nn.Linear(channels * sum(level * level for level in levels), classes)

    def forward(self, x):
        return self.fc(torch.cat([F.adaptive_max_pool2d(x, level).flatten(1) for level in self.levels], 1))


class ResNet18(nn.Module):
    def __init__(self, width, exits, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, channels = [], width
        for stage in range(4):
            for i in range(2):
                outputs = width << stage
                blocks.append(Block(channels, outputs, 2 if stage and i == 0 else 1))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.exits = exits
        self.heads = nn.ModuleList([SpatialPyramid(blocks[e - 1].conv2.out_channels, classes) for e in exits])
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        logits = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i + 1 in self.exits:
                logits.append(self.heads[self.exits.index(i + 1)](x))
        return logits + [self.fc(x.mean((2, 3)))]


class Augment:
    """Applies a random 4-pixel crop and flip to a whole batch with one gather."""

    def __init__(self, images, mean, std):
        padded = F.pad(images, (0, 0, 4, 4, 4, 4))  # [N, 40, 40, 3]
        self.padded = padded.flatten(1, 2)
        self.mean, self.std = torch.tensor(mean) * 255, torch.tensor(std) * 255

    def __call__(self, index):
        n = len(index)
        y = torch.randint(9, (n, 1)) + torch.arange(32)
        x = torch.randint(9, (n, 1)) + torch.arange(32)
        x = torch.where(torch.rand(n, 1) < 0.5, x.flip(1), x)
        place = (y[:, :, None] * 40 + x[:, None, :]).flatten(1)
        pixels = self.padded[index[:, None], place].view(n, 32, 32, 3)
        return ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)


def train_one_epoch(args):
    torch.manual_seed(1)
    images = torch.randint(256, (args.images, 32, 32, 3), dtype=torch.uint8)
    labels = torch.randint(10, (args.images,))
    augment = Augment(images, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    model = ResNet18(args.width, args.exits).to(memory_format=torch.channels_last).train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    free = [p for p in model.parameters() if p.dim() == 1]
    optimiser = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": free}], lr=0.05,
                                momentum=0.9, nesterov=True, foreach=True)
    weights = [0.2, 0.3, 0.5] if args.exits else [1.0]
    steps = args.images // args.batch
    order = torch.randperm(args.images)
    total = torch.zeros(())
    start = time.perf_counter()
    for step in range(steps):
        index = order[step * args.batch:(step + 1) * args.batch]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            outputs = model(augment(index))
        loss = sum(w * F.cross_entropy(z.float(), labels[index]) for w, z in zip(weights, outputs))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach()
    assert torch.isfinite(total)
    return steps * args.batch / (time.perf_counter() - start)


def bare_convolutions(args, repeats=5):
    """Returns images per second if only the convolutions' forward and backward passes are computed."""
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    model = ResNet18(args.width, args.exits).to(memory_format=torch.channels_last)
    shapes = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: shapes.append((m, i[0].shape)))
    with torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
    seconds = 0.0
    for module, shape in shapes:
        x = torch.randn(args.batch, *shape[1:]).to(dtype).to(memory_format=torch.channels_last)
        x.requires_grad_(shape[1] != 3)
        weight = module.weight.detach().to(dtype).requires_grad_()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            y = F.conv2d(x, weight, None, module.stride, module.padding)
            forward = time.perf_counter() - start
            gradient = torch.ones_like(y)
            start = time.perf_counter()
            torch.autograd.grad(y, [t for t in (x, weight) if t.requires_grad], gradient)
            times.append(forward + time.perf_counter() - start)
        seconds += sorted(times)[repeats // 2]
    return args.batch / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=7040)
    parser.add_argument("--exits", type=lambda s: [int(e) for e in s.split(",") if e], default=[2, 4])
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bare", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{bare_convolutions(args) if args.bare else train_one_epoch(args):.2f}")


if __name__ == "__main__":
    main()

"""PyTorch as a worker process of compare.py; ort_worker.js describes the protocol between them.

    torch_worker.py eager|frozen|frozen-bf16 MODEL.safetensors BATCH THREADS IMAGES.f32 LOGITS.f32 SHAPE
"""

import json
import math
import sys
import time

import numpy
import torch

from resnet import read_safetensors, torch_module


def quantile(times, share):
    return times[max(math.ceil(share * len(times) - 1e-9), 1) - 1]


def optimised(network, images):
    """Returns the network with oneDNN layouts chosen in advance, if this release of PyTorch supports that."""
    try:
        faster = torch.jit.optimize_for_inference(network)
        for _ in range(3):
            faster(images)
        return faster
    except RuntimeError as error:
        print(f"optimize_for_inference: {str(error).splitlines()[-1]}; using the frozen network", file=sys.stderr)
        return network


def main():
    mode, model, batch, threads, images_file, logits_file, shape = sys.argv[1:]
    batch, shape = int(batch), [int(d) for d in shape.split(",")]
    torch.set_num_threads(int(threads))
    images = torch.from_numpy(numpy.fromfile(images_file, numpy.float32).reshape(-1, *shape))
    batches = [images[i:i + batch].contiguous(memory_format=torch.channels_last)
               for i in range(0, len(images) - batch + 1, batch)]
    with torch.inference_mode():
        network = torch_module(read_safetensors(model)).to(memory_format=torch.channels_last)
        if mode == "frozen-bf16":
            network = network.to(torch.bfloat16)
            batches = [b.to(torch.bfloat16) for b in batches]
        if mode != "eager":
            network = torch.jit.freeze(torch.jit.trace(network, batches[0]))
            network = optimised(network, batches[0])
        numpy.concatenate([network(b).float().numpy() for b in batches]).tofile(logits_file)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            if not line.startswith("run "):
                break
            budget, times = float(line[4:]), []
            start = now = time.perf_counter()
            while now - start < budget / 8:  # warm up for as long as offramp does
                network(batches[0])
                now = time.perf_counter()
            start = now
            while now - start < budget:
                before = now
                network(batches[len(times) % len(batches)])
                now = time.perf_counter()
                times.append(1e3 * (now - before))
            times.sort()
            print(json.dumps({"images": len(times) * batch, "seconds": now - start,
                              "latency_ms": {"p50": quantile(times, 0.5), "p95": quantile(times, 0.95),
                                             "p99": quantile(times, 0.99), "max": times[-1]}}), flush=True)


main()

"""An inference engine as a worker process of compare.py and of bench/onnx/imported_networks.py.

    peer_worker.py ENGINE PRECISION MODEL BATCH STREAMS THREADS IMAGES.npy LOGITS.npy

ENGINE is openvino, onnxruntime or torch. MODEL is an ONNX file with a fixed batch, for torch a ResNet-18 in
safetensors. Each of STREAMS streams is a thread of this process with its own request, THREADS threads in every
operation, and the weights shared. The worker writes the logits of the images to a file and prints a line of JSON with
the engine's version and, from the engine's own profile of one executed batch, the number of convolutions by the type
that they read. For each line "run SECONDS" on standard input, it then runs for that long and prints the number of
images, the seconds and the latencies in ms.
"""

import collections
import json
import math
import pathlib
import sys
import tempfile
import threading
import time

import numpy


class OpenVino:
    """OpenVINO, with a compiled model of as many streams as are asked for."""

    TYPES = {"f32": "f32", "bf16": "bf16", "i8": "int8", "u8": "int8"}

    def __init__(self, precision, model, streams, threads, batches):
        import openvino
        self.openvino, core = openvino, openvino.Core()
        self.version = openvino.get_version()
        # int8 convolutions are those of the file; what is not quantised there runs in bf16 where the CPU has it.
        hint = {"f32": "f32", "bf16": "bf16", "int8": None}[precision]
        config = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams * threads, "ENABLE_CPU_PINNING": False}
        if hint:
            config["INFERENCE_PRECISION_HINT"] = hint
        network = core.read_model(model)
        self.compiled = core.compile_model(network, "CPU", config)
        self.profiled = core.compile_model(network, "CPU", {**config, "PERF_COUNT": True})
        self.batches = [openvino.Tensor(batch, shared_memory=True) for batch in batches]

    def convolutions(self):
        # The executed graph says the type of each operation's data, the profile which ones were executed.
        request = self.profiled.create_infer_request()
        request.infer([self.batches[0]])
        executed = {p.node_name for p in request.get_profiling_info() if "EXECUTED" in str(p.status)}
        counts = collections.Counter()
        for node in self.profiled.get_runtime_model().get_ordered_ops():
            info = {key: node.get_rt_info()[key].astype(str) for key in ("layerType", "runtimePrecision")}
            if info["layerType"] == "Convolution" and node.get_friendly_name() in executed:
                kind = info["runtimePrecision"].lower()
                counts[self.TYPES.get(kind, kind)] += 1
        return counts

    def stream(self):
        request = self.compiled.create_infer_request()

        def run(index):
            request.set_input_tensor(self.batches[index])
            request.start_async()
            request.wait()
            return request.get_output_tensor().data
        return run


class OnnxRuntime:
    """ONNX Runtime, with one session that all streams run."""

    TYPES = {"float": "f32", "uint8": "int8", "int8": "int8", "bfloat16": "bf16"}

    def __init__(self, precision, model, streams, threads, batches):
        import onnxruntime
        self.onnxruntime, self.version = onnxruntime, onnxruntime.__version__
        self.model, self.threads = model, threads
        self.session = self.open()
        self.batches = [onnxruntime.OrtValue.ortvalue_from_numpy(batch) for batch in batches]

    def open(self, profile=None):
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        return self.onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    def binding(self, session, batch):
        binding = session.io_binding()
        binding.bind_ortvalue_input(session.get_inputs()[0].name, batch)
        binding.bind_output(session.get_outputs()[0].name)
        return binding

    def convolutions(self):
        with tempfile.TemporaryDirectory() as folder:
            session = self.open(pathlib.Path(folder) / "profile")
            session.run_with_iobinding(self.binding(session, self.batches[0]))
            events = json.loads(pathlib.Path(session.end_profiling()).read_text())
        counts = collections.Counter()
        for event in events:
            given = event.get("args", {})
            if event["name"].endswith("_kernel_time") and "Conv" in given.get("op_name", ""):
                kind = next(iter(given["input_type_shape"][0]))
                counts[self.TYPES.get(kind, kind)] += 1
        return counts

    def stream(self):
        bindings = [self.binding(self.session, batch) for batch in self.batches]

        def run(index):
            self.session.run_with_iobinding(bindings[index])
            return bindings[index].get_outputs()[0].numpy()
        return run


class Torch:
    """PyTorch, compiled by torch.compile with frozen weights; bf16 is autocast. One stream."""

    TYPES = {"float": "f32", "c10::BFloat16": "bf16"}

    def __init__(self, precision, model, streams, threads, batches):
        import torch
        import torch._inductor.config
        from resnet import read_safetensors, torch_module
        assert streams == 1, "compare.py starts a process for each stream of PyTorch"
        self.torch, self.version, self.precision = torch, torch.__version__, precision
        torch.set_num_threads(threads)
        torch._inductor.config.freezing = True
        network = torch_module(read_safetensors(model)).to(memory_format=torch.channels_last)
        self.network = torch.compile(network)
        self.batches = [torch.from_numpy(b).contiguous(memory_format=torch.channels_last) for b in batches]
        for _ in range(3):
            self.run(0)

    def run(self, index):
        with self.torch.inference_mode(), self.torch.autocast("cpu", self.torch.bfloat16, self.precision == "bf16"):
            return self.network(self.batches[index]).float().numpy()

    def convolutions(self):
        with self.torch.profiler.profile(record_shapes=True) as profile:
            self.run(0)
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            profile.export_chrome_trace(str(trace))
            events = json.loads(trace.read_text())["traceEvents"]
        counts = collections.Counter()
        for event in events:
            if "convolution" in event.get("name", "") and event.get("cat") == "cpu_op":
                kind = event["args"].get("Input type", ["unknown"])[0]
                counts[self.TYPES.get(kind, kind)] += 1
        return counts

    def stream(self):
        return self.run


ENGINES = {"openvino": OpenVino, "onnxruntime": OnnxRuntime, "torch": Torch}


def quantile(times, share):
    return times[max(math.ceil(share * len(times) - 1e-9), 1) - 1]


def timed(streams, num_batches, batch, seconds):
    """Runs all streams at the same time. Returns images, seconds and latencies."""
    times, ends = [[] for _ in streams], [0.0] * len(streams)
    start_line = threading.Barrier(len(streams))

    def work(place):
        run, mine = streams[place], times[place]
        until = time.perf_counter() + seconds / 8  # warms up for as long as offramp does
        while time.perf_counter() < until:
            run(0)
        start_line.wait()
        start = now = time.perf_counter()
        while now - start < seconds:
            before = now
            run(len(mine) % num_batches)
            now = time.perf_counter()
            mine.append(1e3 * (now - before))
        ends[place] = now - start

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, len(streams))]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    every = sorted(sum(times, []))
    return {"images_per_second": sum(len(t) * batch / e for t, e in zip(times, ends)),
            "latency_ms": {"p50": quantile(every, 0.5), "p95": quantile(every, 0.95), "p99": quantile(every, 0.99),
                           "max": every[-1]}}


def main():
    engine, precision, model, batch, streams, threads, images, logits = sys.argv[1:]
    batch, streams = int(batch), int(streams)
    images = numpy.load(images)
    batches = [numpy.ascontiguousarray(images[i:i + batch]) for i in range(0, len(images) - batch + 1, batch)]
    peer = ENGINES[engine](precision, model, streams, int(threads), batches)
    runs = [peer.stream() for _ in range(streams)]
    numpy.save(logits, numpy.concatenate([runs[0](i).copy() for i in range(len(batches))]))
    print(json.dumps({"version": peer.version, "convolutions": peer.convolutions()}), flush=True)
    for line in sys.stdin:
        if not line.startswith("run "):
            break
        print(json.dumps(timed(runs, len(batches), batch, float(line[4:]))), flush=True)


main()

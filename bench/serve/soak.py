#!/usr/bin/env python3
"""Uses offramp's server for minutes as good and bad clients do, and checks every answer.

    bench/serve/soak.py --offramp build/release/offramp --data IMAGES --seconds 300

IMAGES is a folder of image files of any depth. The server gets two copies of the model. Good clients send image files
and pixels, alone and in forms, and compare class, exit and probability with the answers that `offramp classify` gave
before; bad clients send what is drawn from FAULTS, or go away in the middle of it. Meanwhile the second model's file is
replaced, by good and by bad files, with and without SIGHUP. One client asks for health all the time: the longest answer
is reported. Memory, open files and threads are watched. In the end SIGTERM must drain the server with status 0. Prints
JSON; the status is 1 if an answer was wrong, or if anything else was not as it must be. The same --seed draws the same
requests, but not the same order in time.
"""

import argparse
import asyncio
import collections
import json
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOOD_STATUSES = {200}
# What a good client may get while the server is full or its connections are.
BUSY = {503}


def post(target, body, headers=()):
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def infer(model, pixels, shape, parameters="", name="image", datatype="UINT8", size=None):
    header = (f'{{"parameters":{{{parameters}}},"inputs":[{{"name":"{name}","datatype":"{datatype}","shape":{shape},'
              f'"parameters":{{"binary_data_size":{len(pixels) if size is None else size}}}}}]}}').encode()
    return post(f"/v2/models/{model}/infer", header + pixels, [f"Inference-Header-Content-Length: {len(header)}"])


def form(files):
    parts = b"".join(b"--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"" + name.encode() +
                     b"\"\r\n\r\n" + content + b"\r\n" for name, content in files)
    return post("/v1/classify", parts + b"--x--\r\n", ["Content-Type: multipart/form-data; boundary=x"])


def mutated(draw, content):
    content = bytearray(content)
    for _ in range(draw.randint(1, 20)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content[:draw.randint(1, len(content))])


# Each takes a random generator and an image file, and gives the bytes of a request that is wrong in some way. The
# answer must be an error of the client or none, or, where the harm may have left the request valid, any but a 5xx.
FAULTS = {
    "garbage": lambda draw, image: draw.randbytes(draw.randint(1, 3000)),
    "no host": lambda draw, image: b"GET / HTTP/1.1\r\n\r\n",
    "half the headers": lambda draw, image: post("/v1/classify", image)[:draw.randint(1, 60)],
    "half the body": lambda draw, image: post("/v1/classify", image)[:-draw.randint(1, len(image) - 1)],
    "huge length": lambda draw, image: b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9" +
                                       b"9" * draw.randint(3, 30) + b"\r\n\r\n" + image,
    "two lengths": lambda draw, image: post("/v1/classify", image, ["Content-Length: 7"]),
    "negative chunk": lambda draw, image: b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
                                          b"\r\n\r\n-5\r\nabc\r\n",
    "huge chunk": lambda draw, image: b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
                                      b"\r\n\r\nffffffffffffffff\r\n" + image,
    "one-byte chunks": lambda draw, image: b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
                                           b"\r\n\r\n" + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n",
    "long headers": lambda draw, image: b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
    "broken image": lambda draw, image: post("/v1/classify", mutated(draw, image)),
    "not an image": lambda draw, image: post("/v1/classify", draw.randbytes(500)),
    "broken form": lambda draw, image: mutated(draw, form([("a.jpg", image)])),
    "form that ends early": lambda draw, image: post("/v1/classify", b"--x\r\nContent-Disposition: form-data",
                                                     ["Content-Type: multipart/form-data; boundary=x"]),
    "NaN": lambda draw, image: infer("a", struct.pack("<f", float("nan")) * 3072, "[1,3,32,32]", datatype="FP32"),
    "shape that overflows": lambda draw, image: infer("a", image, "[4611686018427387904,4,32,3]"),
    "shape without pixels": lambda draw, image: infer("a", b"", "[1,32,32,3]", size=3072),
    "other size": lambda draw, image: infer("a", bytes(3072), "[1,32,32,3]", size=draw.randint(0, 10000) + 3073),
    "unknown name": lambda draw, image: infer("a", bytes(3072), "[1,32,32,3]", name="x"),
    "unknown parameter": lambda draw, image: infer("a", bytes(3072), "[1,32,32,3]", '"stop":"never"'),
    "deep JSON": lambda draw, image: post("/v2/models/a/infer", b"[" * 5000),
    "no JSON": lambda draw, image: post("/v2/models/a/infer", mutated(draw, b'{"inputs":[{"name":"image"}]}')),
    "path tricks": lambda draw, image: post("/v2/models/..%2f..%2fetc/infer", image),
    "invalid UTF-8": lambda draw, image: post("/v2/models/%ff%fe/infer", image),
    "unknown model": lambda draw, image: post("/v1/classify?model=none", image),
    "wrong method": lambda draw, image: b"DELETE /v1/classify HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "other host": lambda draw, image: b"GET /v1/models HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "gzip": lambda draw, image: post("/v1/classify", image, ["Content-Encoding: gzip"]),
}


async def read_response(reader):
    """Returns (status, headers, body), skipping interim responses."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        if status >= 200:
            break
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:] if line)}
    return status, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def memory_mib(pid):
    fields = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(fields.split("VmRSS:")[1].split()[0]) / 1024


class Soak:
    def __init__(self, flags, folder):
        self.flags, self.folder = flags, folder
        self.counts, self.wrong = collections.Counter(), []
        self.memory, self.health_ms = [], []
        self.until = time.monotonic() + flags.seconds

    def fail(self, what):
        self.counts["wrong"] += 1
        if len(self.wrong) < 20:
            self.wrong.append(what)

    def start(self):
        self.models = {name: self.folder / f"{name}.safetensors" for name in "ab"}
        for path in self.models.values():
            shutil.copy(self.flags.model, path)
        files = sorted(path for path in pathlib.Path(self.flags.data).rglob("*") if path.suffix in (".jpg", ".png"))
        files = random.Random(1).sample(files, min(self.flags.images, len(files)))
        answers = subprocess.run([self.flags.offramp, "classify", self.models["a"], *files, "--json"], check=True,
                                 capture_output=True, text=True, cwd=self.folder)
        self.images = [(path.read_bytes(), answer) for path, answer in zip(files, map(json.loads, answers.stdout.splitlines()))]
        self.log = (self.folder / "log").open("w")
        self.server = subprocess.Popen([self.flags.offramp, "serve", *self.models.values(), "--port", "0",
                                        *self.flags.more.split()], stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.server.stdout:
            if line.startswith("page:"):
                self.port = int(line.rsplit(":", 1)[1].strip().rstrip("/"))
                return
        sys.exit("the server does not start: " + (self.folder / "log").read_text())

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    def check(self, what, got, expected):
        for key in ("class", "exit", "probability", "relative_cost"):
            if got[key] != expected[key]:  # both are printed so that the same number is read
                self.fail(f"{what}: {key} {got[key]} instead of {expected[key]}")
                return

    async def good(self, draw):
        """Asks, some time on one connection, and compares."""
        reader, writer = await self.connect()
        try:
            for _ in range(draw.randint(1, 50)):
                if time.monotonic() >= self.until:
                    return
                model = draw.choice("ab")
                chosen = [draw.choice(self.images) for _ in range(draw.choice([1, 1, 1, 2, 8]))]
                if len(chosen) == 1:
                    request = post(f"/v1/classify?model={model}", chosen[0][0])
                else:
                    request = form([(f"{i}.jpg", content) for i, (content, _) in enumerate(chosen)])
                sent = draw.choice([1, 1, 4])  # pipelined
                writer.write(request * sent)
                for _ in range(sent):
                    status, headers, body = await asyncio.wait_for(read_response(reader), 60)
                    self.counts[f"good: {status}"] += 1
                    if status in BUSY:
                        if "retry-after" not in headers:
                            self.fail("503 without Retry-After")
                        await asyncio.sleep(0.1)
                        continue
                    if status not in GOOD_STATUSES:
                        self.fail(f"good request: {status} {body[:200]}")
                        continue
                    answer = json.loads(body)
                    answers = answer.get("images", [answer])
                    if len(answers) != len(chosen):
                        self.fail(f"{len(answers)} answers to {len(chosen)} images")
                        continue
                    self.counts["images compared"] += len(chosen)
                    for got, (_, expected) in zip(answers, chosen):
                        if "error" in got:
                            self.fail(f"good image: {got}")
                        else:
                            self.check("image", got, expected)
                    if headers.get("connection") == "close":
                        return
        finally:
            writer.close()

    async def bad(self, draw):
        name = draw.choice(sorted(FAULTS))
        request = FAULTS[name](draw, draw.choice(self.images)[0])
        reader, writer = await self.connect()
        try:
            manner = draw.choice(["all", "all", "slowly", "goes away", "resets", "half closed"])
            if manner == "slowly":
                for at in range(0, min(len(request), 200), 40):
                    writer.write(request[at:at + 40])
                    await asyncio.sleep(draw.random() / 10)
                writer.write(request[200:])
            else:
                writer.write(request)
            if manner == "goes away":
                return
            if manner == "resets":
                writer.transport.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER
                writer.transport.abort()
                return
            if manner == "half closed":
                writer.write_eof()
            try:
                status, _, body = await asyncio.wait_for(read_response(reader), 3)
            except (asyncio.TimeoutError, asyncio.IncompleteReadError):
                self.counts["bad: no answer"] += 1  # half a request: the server waits for the rest, or the end came
                return
            self.counts[f"bad: {status}"] += 1
            maybe_good = name in ("broken image", "broken form", "no JSON")
            if status >= 500 and status not in BUSY and status != 501 or status < 400 and not maybe_good:
                self.fail(f"{name}, {manner}: {status} {body[:200]}")
            if str(self.folder).encode() in body:
                self.fail(f"{name}: the answer shows a path")
        finally:
            writer.close()

    async def leave(self, draw):
        """A valid request whose client does not wait for the answer."""
        _, writer = await self.connect()
        writer.write(form([("a.jpg", draw.choice(self.images)[0])] * draw.randint(1, 64)))
        await asyncio.sleep(draw.random() / 20)
        self.counts["left"] += 1
        writer.close()

    async def repeat(self, work, draw):
        while time.monotonic() < self.until:
            try:
                await work(draw)
            except (ConnectionError, BrokenPipeError, asyncio.IncompleteReadError) as error:
                self.counts[f"{work.__name__}: {type(error).__name__}"] += 1
                if self.server.poll() is not None:
                    self.fail(f"the server ended with {self.server.returncode}")
                    return
            except asyncio.TimeoutError:
                self.fail(f"{work.__name__}: no answer within a minute")

    async def health(self):
        pages = ["/v2/health/live", "/v2/health/ready", "/metrics", "/v2/models/stats", "/", "/v1/models"]
        while time.monotonic() < self.until:
            for page in pages:
                begin = time.monotonic()
                reader, writer = await self.connect()
                writer.write(f"GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                status, _, _ = await read_response(reader)
                writer.close()
                self.health_ms.append(1e3 * (time.monotonic() - begin))
                if status != 200:
                    self.fail(f"{page}: {status}")
            await asyncio.sleep(0.2)

    async def reload(self, draw):
        good = self.flags.model.read_bytes()
        while time.monotonic() < self.until:
            kind = draw.choice(["good", "good", "cut", "empty", "random", "changed"])
            content = {"good": good, "cut": good[:draw.randrange(len(good))], "empty": b"",
                       "random": draw.randbytes(10000), "changed": b"\xff" * 8 + good[8:]}[kind]
            fresh = self.folder / "fresh"
            fresh.write_bytes(content)
            fresh.replace(self.models["b"])
            if draw.random() < 0.7:
                self.server.send_signal(signal.SIGHUP)
            self.counts[f"file: {kind}"] += 1
            await asyncio.sleep(draw.uniform(0.5, 4))

    async def watch(self):
        while time.monotonic() < self.until:
            self.memory.append(memory_mib(self.server.pid))
            await asyncio.sleep(0.5)

    async def run(self):
        flags = self.flags
        draws = [random.Random(f"{flags.seed} {i}") for i in range(1000)]
        clients = ([self.repeat(self.good, draws.pop()) for _ in range(flags.clients)] +
                   [self.repeat(self.bad, draws.pop()) for _ in range(flags.clients)] +
                   [self.repeat(self.leave, draws.pop()) for _ in range(2)])
        await asyncio.gather(*clients, self.health(), self.reload(draws.pop()), self.watch())

    def end(self):
        open_files = len(list(pathlib.Path(f"/proc/{self.server.pid}/fd").iterdir()))
        threads = len(list(pathlib.Path(f"/proc/{self.server.pid}/task").iterdir()))
        self.server.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        try:
            status = self.server.wait(60)
        except subprocess.TimeoutExpired:
            self.server.kill()
            status = "did not end"
        if status != 0:
            self.fail(f"SIGTERM: {status}: {(self.folder / 'log').read_text()[-2000:]}")
        third = max(1, len(self.memory) // 3)
        return {"counts": dict(sorted(self.counts.items())), "seconds": self.flags.seconds,
                "memory_mib": {"first_third_most": max(self.memory[:third]), "last_third_most": max(self.memory[-third:]),
                               "last": self.memory[-1]},
                "health_ms": {"p50": sorted(self.health_ms)[len(self.health_ms) // 2], "max": max(self.health_ms)},
                "open_files": open_files, "threads": threads, "drain_seconds": time.monotonic() - begin,
                "log_lines": len((self.folder / "log").read_text().splitlines()), "wrong": self.wrong}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offramp", type=pathlib.Path, default=ROOT / "build/release/offramp")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/cifar10-3-exits.safetensors")
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8, help="good ones, and as many bad ones")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--more", default="", help="further flags of the server, in one text")
    flags = parser.parse_args()
    flags.offramp, flags.model = flags.offramp.resolve(), flags.model.resolve()
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(flags, pathlib.Path(name))
        soak.start()
        soak.until = time.monotonic() + flags.seconds
        try:
            asyncio.run(soak.run())
            result = soak.end()
        finally:
            if soak.server.poll() is None:
                soak.server.kill()
    print(json.dumps(result, indent=2))
    return 1 if soak.counts["wrong"] or not soak.counts["images compared"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""A stand-in for the server, with invented answers: serves the page with the real headers.

    python3 tests/serve/page/mock_server.py [--port 8001] [--no-path] [--no-watch]
        [--token TOKEN] [--busy N] [--milliseconds MS]

Develop the page with it where the program is not built. What it answers is in docs/serving.md.
"""
import argparse
import hashlib
import json
import math
import pathlib
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

PAGE = pathlib.Path(__file__).parents[3] / "src" / "serve" / "page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".png": "image/png"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
COSTS = [0.27, 0.57, 1.034]
BOUNDS = [0.1 * 1.25 ** i for i in range(60)]
STEPS = [{"thresholds": [None if i == 0 else 1 - i / 40, None if i < 3 else 1.05 - i / 40],
          "accuracy": round(0.9060 - 0.00002 * i ** 2, 4), "certified": i <= 14,
          "relative_cost": round(0.40 + 0.634 * math.exp(-i / 4), 4)} for i in range(16)]


class Mock:
    """A server on a free port of 127.0.0.1; the options are those of the command line."""

    def __init__(self, port=0, path=True, watch=True, token="", busy=0,
                 milliseconds=3.0, models=1):
        self.path, self.watch, self.token = path, watch, token
        self.busy, self.milliseconds, self.models = busy, milliseconds, models
        self.exits, self.counts = [0] * 3, [0] * (len(BOUNDS) + 1)
        self.failed, self.spent, self.under_way, self.most_under_way = 0, 0.0, 0, 0
        self.queries, self.polls, self.agents = [], [], []
        self.guarantee = {"of": "harm", "epsilon": 0.02, "delta": 0.05, "in_force": "no",
                          "why": "certified for int8 with other kernels; this model runs f32"}
        self.watched = {"state": "holding", "audit_share": 0.01, "audits": 812, "bound": 0.021,
                        "disagreements": 9, "evidence": 3.1, "alarm_at": 1000,
                        "on_alarm": "cautious", "step": 14, "why": ""}
        self.drift, self.distance, self.loaded, self.costs = "unknown", 0.0, 1, COSTS
        self.lock, self.is_stopped = threading.Lock(), False
        mock = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                super().handle_one_request()
                self.close_connection |= mock.is_stopped

            def answer(self, status, body, kind="application/json", **headers):
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def allowed(self):
                if not mock.token or self.headers["Authorization"] == "Bearer " + mock.token:
                    return True
                self.answer(401, {"error": "this server asks for a token: send the header "
                                           "Authorization: Bearer TOKEN"})
                return False

            def do_GET(self):
                path = urlparse(self.path).path
                file = PAGE / (path[1:] or "index.html")
                if file.parent == PAGE and file.is_file():
                    self.answer(200, file.read_bytes(), TYPES[file.suffix],
                                Content_Security_Policy=POLICY, X_Content_Type_Options="nosniff",
                                Cache_Control="no-cache")
                elif self.allowed():
                    if path == "/v1/models":
                        self.answer(200, {"models": mock.list_models()})
                    elif path.endswith("/stats"):
                        mock.polls.append(time.monotonic())
                        self.answer(200, {"model_stats": [mock.statistics()]})
                    else:
                        self.answer(404, {"error": "there is nothing at this address"})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.allowed():
                    status, answer = mock.classify(body, parse_qs(urlparse(self.path).query))
                    self.answer(status, answer, **({"Retry_After": "1"} if status == 503 else {}))

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.address = "http://127.0.0.1:%d/" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.is_stopped = True
        self.server.shutdown()
        self.server.server_close()

    def list_models(self):
        names = ["cifar10-3-exits", "another"][:self.models]
        path = {"chosen": 14, "parameter": "step", "steps": STEPS} if self.path else None
        return [{"name": name, "version": "1", "precision": "int8", "threads": 2, "exits": 3,
                 "input": [3, 32, 32], "relative_costs": self.costs, "classes": CLASSES,
                 "policy": True,
                 "criterion": "confidence", "path": path} for name in names]

    def statistics(self):
        with self.lock:
            n = sum(self.exits)
            mean = sum(c * e for c, e in zip(COSTS, self.exits)) / max(n, 1)
            offramp = {"exits": list(self.exits), "mean_relative_cost": mean, "limited": 0,
                       "relative_costs": COSTS, "cancelled": 0, "waiting": self.under_way,
                       "drift": self.drift, "drift_distance": self.distance}
            offramp |= {"loaded": self.loaded, "requests": len(self.queries),
                        "calibrated_shares": [0.65, 0.2055, 0.1445], "guarantee": self.guarantee,
                        "latency": {"bounds_ms": BOUNDS, "counts": list(self.counts)}}
            if self.watch:
                offramp["watch"] = self.watched
            return {"name": "cifar10-3-exits", "version": "1", "inference_count": n,
                    "inference_stats": {"success": {"count": n, "ns": int(self.spent * 1e6)},
                                        "fail": {"count": self.failed, "ns": 0}},
                    "offramp": offramp}

    def classify(self, body, query):
        with self.lock:
            self.queries.append({key: values[0] for key, values in query.items()})
            if self.busy > 0:
                self.busy -= 1
                return 503, {"error": "model cifar10-3-exits: too many images wait for it; try again later"}
            if not body.startswith((b"\x89PNG", b"\xff\xd8")):
                self.failed += 1
                return 400, {"error": "image: not a JPEG, PNG, WebP or BMP file"}
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        digest = random.Random(hashlib.sha256(body).digest())
        ease = digest.random()
        if "step" in query:
            share = int(query["step"][0]) / 14
            exit_ = 1 if ease < 0.65 * share else 2 if ease < 0.85 * share else 3
        elif query.get("stop") == ["last"]:
            exit_ = 3
        elif "threshold" in query:
            exit_ = 1 if float(query["threshold"][0]) <= 0.5 else 2
        else:
            exit_ = 1 if ease < 0.6 else 2 if ease < 0.82 else 3
        milliseconds = self.milliseconds * (0.6 + COSTS[exit_ - 1]) * digest.uniform(0.8, 1.6)
        time.sleep(milliseconds / 1000)
        first = digest.uniform(0.7, 0.99) if exit_ < 3 else digest.uniform(0.4, 0.8)
        names = digest.sample(CLASSES, 3)
        chances = [first, (1 - first) * 0.7, (1 - first) * 0.2]
        with self.lock:
            self.under_way -= 1
            self.exits[exit_ - 1] += 1
            self.spent += milliseconds
            self.counts[sum(bound < milliseconds for bound in BOUNDS)] += 1
        return 200, {"model": "cifar10-3-exits", "version": "1", "class": names[0],
                     "probability": first, "exit": exit_, "exits": 3,
                     "relative_cost": COSTS[exit_ - 1], "milliseconds": milliseconds,
                     "queue_milliseconds": 0.1,
                     "top": [{"class": c, "probability": p} for c, p in zip(names, chances)]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--no-path", dest="path", action="store_false")
    parser.add_argument("--no-watch", dest="watch", action="store_false")
    parser.add_argument("--token", default="")
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--milliseconds", type=float, default=3)
    print(Mock(**vars(parser.parse_args())).address, flush=True)
    threading.Event().wait()

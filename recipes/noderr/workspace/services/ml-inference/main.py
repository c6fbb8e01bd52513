# SPDX-License-Identifier: Apache-2.0
"""Serves model.onnx over HTTP: POST /v1/predictions {"prices": [...]} on a loopback port."""

import hashlib
import json
import os
import pathlib
import re
import signal
import sys
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Newer versions report to their maker by default, and are told not to before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy  # noqa: E402
import onnxruntime  # noqa: E402

from features import PRICES, features  # noqa: E402

NAME = "ml-inference"
HERE = pathlib.Path(__file__).parent
LEVELS = ("debug", "info", "warn", "error")
MAX_BODY = 64 * 1024
MAX_PRICES = 2000


def settings():
    """Port and log level; all that is wrong in one message, and exit 64, as in the other services."""
    port = os.environ.get("ML_INFERENCE_PORT") or "4013"
    level = os.environ.get("LOG_LEVEL") or "info"
    problems = []
    if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        problems.append(f"ML_INFERENCE_PORT must be a whole number from 0 to 65535 (got {json.dumps(port)})")
    if level not in LEVELS:
        problems.append(f"LOG_LEVEL must be one of {', '.join(LEVELS)} (got {json.dumps(level)})")
    if problems:
        print(f"{NAME}: {len(problems)} problem(s) in the settings", *problems, sep="\n  - ", file=sys.stderr)
        sys.exit(64)
    return int(port), level


PORT, LEVEL = settings()


def log(level, msg, **fields):
    if LEVELS.index(level) < LEVELS.index(LEVEL):
        return
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": now, "level": level, "service": NAME, "msg": msg, **fields}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Model:
    def __init__(self):
        about = json.loads((HERE / "model.json").read_text())
        image = (HERE / "model.onnx").read_bytes()
        self.digest = hashlib.sha256(image).hexdigest()
        if self.digest != about["sha256"]:
            raise RuntimeError("model.onnx is not the file that model.json describes")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the model is tiny, the node is shared
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(image, options, providers=["CPUExecutionProvider"])
        expected = about["check"]["probabilityUp"]
        found = self.predict(about["check"]["prices"])
        if abs(found - expected) > 1e-4:
            raise RuntimeError(f"the model says {found} where training said {expected}")
        self.about = {"sha256": self.digest, "features": about["features"], "accuracy": about["accuracy"],
                      "runtime": f"onnxruntime {onnxruntime.__version__}"}

    def predict(self, prices):
        row = numpy.array([features(prices)], dtype=numpy.float32)
        return float(self.session.run(["probability_up"], {"features": row})[0][0][0])


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.predictions = {"ok": 0, "refused": 0}
        self.seconds = 0.0

    def add(self, outcome, seconds=0.0):
        with self.lock:
            self.predictions[outcome] += 1
            self.seconds += seconds

    def text(self):
        with self.lock:
            lines = ["# HELP noderr_predictions_total Predictions by outcome",
                     "# TYPE noderr_predictions_total counter"]
            for outcome, count in self.predictions.items():
                lines.append(f'noderr_predictions_total{{outcome="{outcome}",service="{NAME}"}} {count}')
            lines += ["# HELP noderr_prediction_seconds_total Time spent in the model",
                      "# TYPE noderr_prediction_seconds_total counter",
                      f'noderr_prediction_seconds_total{{service="{NAME}"}} {self.seconds:.6f}']
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        lines += ["# HELP process_resident_memory_bytes Resident memory size in bytes.",
                  "# TYPE process_resident_memory_bytes gauge",
                  f'process_resident_memory_bytes{{service="{NAME}"}} {pages * os.sysconf("SC_PAGE_SIZE")}']
        return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    timeout = 5  # a silent client does not hold a thread, nor the stop, for longer
    server_version = NAME
    sys_version = ""

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok", "service": NAME})
        elif self.path == "/ready":
            self.answer(200, {"ready": True})
        elif self.path == "/metrics":
            self.answer(200, COUNTS.text(), "text/plain; version=0.0.4; charset=utf-8")
        elif self.path == "/v1/model":
            self.answer(200, MODEL.about)
        else:
            self.answer(404, {"statusCode": 404, "message": "no such path"})

    def do_POST(self):
        if self.path != "/v1/predictions":
            self.answer(404, {"statusCode": 404, "message": "no such path"})
            return
        try:
            prices = self.prices()
            started = time.perf_counter()
            probability = MODEL.predict(prices)
        except ValueError as error:
            COUNTS.add("refused")
            self.answer(400, {"statusCode": 400, "message": str(error)})
            return
        COUNTS.add("ok", time.perf_counter() - started)
        self.answer(200, {"probabilityUp": probability, "model": MODEL.digest})

    def prices(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise ValueError(f"a body of at most {MAX_BODY} bytes is needed")
        body = json.loads(self.rfile.read(int(length)))
        if not isinstance(body, dict) or list(body) != ["prices"] or not isinstance(body["prices"], list):
            raise ValueError(f'the body must be {{"prices": [...]}} with at least {PRICES} prices')
        if len(body["prices"]) > MAX_PRICES:
            raise ValueError(f"more than {MAX_PRICES} prices")
        return body["prices"]

    def answer(self, status, body, content="application/json; charset=utf-8"):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("content-type", content)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code="-", size="-"):
        if self.path not in ("/health", "/ready", "/metrics"):
            log("info", "request", method=self.command, path=self.path, status=int(code))

    def log_message(self, format, *args):
        log("warn", "bad request", detail=format % args)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests in flight

    def handle_error(self, request, client_address):
        log("warn", "request failed", reason=repr(sys.exception()))


def main():
    with Server(("127.0.0.1", PORT), Handler) as server:
        def stop(number, _frame):
            log("info", "stopping", signal=signal.Signals(number).name)
            # shutdown() waits for serve_forever(), which this very thread is in.
            threading.Thread(target=server.shutdown).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        log("info", "listening", port=server.server_address[1], model=MODEL.digest)
        server.serve_forever(poll_interval=0.1)
    log("info", "stopped")


try:
    MODEL, COUNTS = Model(), Counts()
    main()
except (OSError, RuntimeError) as error:
    log("error", "cannot start", reason=str(error))
    sys.exit(1)

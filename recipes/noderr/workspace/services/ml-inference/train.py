#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes model.onnx and model.json: python3 train.py [DIRECTORY]

Standard library only, and no randomness but a generator with a fixed seed, so the same files come
out on any machine: weights are rounded far above the last bits in which C libraries differ.

The model is a perceptron, 6-8-1, that says how likely the next move is up. It is trained on made-up
series whose returns depend on the one before. It shows how a model gets into an image and is served;
it is no advice.
"""

import hashlib
import json
import math
import pathlib
import struct
import sys

from features import NAMES, PRICES, features

HIDDEN = 8
SERIES, LENGTH, EPOCHS, RATE = 24, 60, 30, 0.05


class Random:
    """xorshift64*, by Vigna."""

    def __init__(self, seed):
        self.state = seed

    def uniform(self):
        """From -1 to 1."""
        x = self.state
        x ^= x >> 12
        x = (x ^ (x << 25)) & (2**64 - 1)
        x ^= x >> 27
        self.state = x
        return ((x * 0x2545F4914F6CDD1D) & (2**64 - 1)) / 2**63 - 1


def samples(random):
    """Windows of the series, each with what came next."""
    for _ in range(SERIES):
        prices, step = [100.0], 0.0
        for _ in range(LENGTH):
            step = 0.6 * step + 0.004 * random.uniform()
            prices.append(prices[-1] * math.exp(step))
        for end in range(PRICES, len(prices)):
            yield features(prices[:end]), 1.0 if prices[end] > prices[end - 1] else 0.0


def forward(model, x):
    w1, b1, w2, b2 = model
    hidden = [math.tanh(sum(x[i] * w1[i][j] for i in range(len(x))) + b1[j]) for j in range(HIDDEN)]
    return hidden, 1 / (1 + math.exp(-(sum(h * w for h, w in zip(hidden, w2)) + b2)))


def train(random):
    w1 = [[0.4 * random.uniform() for _ in range(HIDDEN)] for _ in NAMES]
    b1, w2, b2 = [0.0] * HIDDEN, [0.4 * random.uniform() for _ in range(HIDDEN)], 0.0
    data = list(samples(random))
    for epoch in range(EPOCHS):
        rate = RATE / (1 + epoch / 10)
        for x, y in data:
            hidden, p = forward((w1, b1, w2, b2), x)
            error = p - y
            for j in range(HIDDEN):
                back = error * w2[j] * (1 - hidden[j] ** 2)
                w2[j] -= rate * error * hidden[j]
                b1[j] -= rate * back
                for i, value in enumerate(x):
                    w1[i][j] -= rate * back * value
            b2 -= rate * error
    model = ([[round(w, 4) for w in row] for row in w1], [round(b, 4) for b in b1],
             [round(w, 4) for w in w2], round(b2, 4))
    hits = sum((forward(model, x)[1] > 0.5) == (y > 0.5) for x, y in data)
    return model, hits / len(data)


# ONNX is protobuf. Numbers in comments are the field numbers of onnx.proto3.


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def tensor(name, shape, values):
    raw = struct.pack(f"<{len(values)}f", *values)
    dims = b"".join(number(1, size) for size in shape)  # dims 1, data_type 2 (1: float), name 8, raw_data 9
    return dims + number(2, 1) + data(8, name) + data(9, raw)


def node(kind, inputs, output):  # input 1, output 2, op_type 4
    return b"".join(data(1, name) for name in inputs) + data(2, output) + data(4, kind)


def value(name, width):  # name 1, type 2; tensor_type 1: elem_type 1, shape 2; dim 1: dim_value 1, dim_param 2
    shape = data(1, data(2, "batch")) + data(1, number(1, width))
    return data(1, name) + data(2, data(1, number(1, 1) + data(2, shape)))


def onnx(model):
    w1, b1, w2, b2 = model
    nodes = [
        node("Gemm", ["features", "w1", "b1"], "a"),
        node("Tanh", ["a"], "b"),
        node("Gemm", ["b", "w2", "b2"], "c"),
        node("Sigmoid", ["c"], "probability_up"),
    ]
    weights = [
        tensor("w1", [len(NAMES), HIDDEN], [w for row in w1 for w in row]),
        tensor("b1", [HIDDEN], b1),
        tensor("w2", [HIDDEN, 1], w2),
        tensor("b2", [1], [b2]),
    ]
    graph = (  # node 1, name 2, initializer 5, input 11, output 12
        b"".join(data(1, item) for item in nodes) + data(2, "next-move")
        + b"".join(data(5, item) for item in weights)
        + data(11, value("features", len(NAMES))) + data(12, value("probability_up", 1))
    )
    # ir_version 1, producer_name 2, graph 7, opset_import 8: version 2
    return number(1, 8) + data(2, "noderr-sample") + data(7, graph) + data(8, number(2, 13))


def main():
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    model, accuracy = train(Random(20260102))
    image = onnx(model)
    prices = [100.0, 100.2, 100.1, 100.4, 100.9, 100.8, 101.3, 101.9]
    about = {
        "sha256": hashlib.sha256(image).hexdigest(),
        "features": list(NAMES),
        "accuracy": round(accuracy, 3),
        # The service computes this before it says that it is ready.
        "check": {"prices": prices, "probabilityUp": round(forward(model, features(prices))[1], 5)},
    }
    (target / "model.onnx").write_bytes(image)
    (target / "model.json").write_text(json.dumps(about, indent=2) + "\n")


main()

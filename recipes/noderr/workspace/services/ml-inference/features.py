# SPDX-License-Identifier: Apache-2.0
"""What the model sees of a series of prices. Training and serving share it, so they cannot differ."""

import math

PRICES = 8
NAMES = ("last", "recent", "total", "deviation", "unrest", "balance")


def features(prices):
    """The six features of the last PRICES prices, without a unit: a symbol's price level has no say.

    Raises ValueError for fewer prices, and for one that is not a finite number above zero.
    """
    if len(prices) < PRICES:
        raise ValueError(f"at least {PRICES} prices are needed")
    window = prices[-PRICES:]
    for price in window:
        if isinstance(price, bool) or not isinstance(price, (int, float)):
            raise ValueError("a price is not a number")
        if not (math.isfinite(price) and price > 0):
            raise ValueError("a price is not above zero")
    returns = [math.log(later / earlier) for earlier, later in zip(window, window[1:])]
    size = _deviation(returns)
    if size < 1e-12:  # nothing moved
        return [0.0] * len(NAMES)
    spread = _deviation(window)
    return [
        returns[-1] / size,
        sum(returns[-3:]) / 3 / size,
        sum(returns) / len(returns) / size,
        (window[-1] - sum(window) / len(window)) / spread if spread > 0 else 0.0,
        _deviation(returns[-3:]) / size - 1,
        sum(1 if value > 0 else -1 if value < 0 else 0 for value in returns) / len(returns),
    ]


def _deviation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))

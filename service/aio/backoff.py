"""Pauses between tries."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator


def backoff(first: float, longest: float) -> Iterator[float]:
    """Yields growing pauses with jitter, in seconds, without end.

    Args:
        first: The first one, before jitter takes up to half of it.
        longest: What they grow to, doubling.
    """
    for doubling in itertools.count():
        yield min(longest, first * 2 ** min(doubling, 30)) * random.uniform(0.5, 1.0)

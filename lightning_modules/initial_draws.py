"""Where initial weights come from: each part of a network, and each layer of a part, has random draws of its own.

So what one layer draws does not depend on the size or the number of others: networks that differ in one thing begin
with the same weights wherever shapes agree, which is what makes replicates under one seed pairs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_draws(seed: int, part: str) -> Iterator[None]:
    """Within, torch draws what this part of a network begins with; the global stream is left as it was.

    Args:
        seed: the trial's.
        part: its name.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(seed, 0, part))
        yield


@contextmanager
def named_draws(name: str) -> Iterator[None]:
    """Within `own_draws`, what one of a part's layers or parameters begins with: by its name alone.

    Args:
        name: unique among those that are named in the same place.
    """
    of_part = torch.initial_seed()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(of_part, 1, name))
        yield


def _seed(seed: int, kind: int, name: str) -> int:
    return int(np.random.SeedSequence((seed, kind, *name.encode())).generate_state(1)[0])

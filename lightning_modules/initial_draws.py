"""Where initial weights come from: each part of a network has random draws of its own.

So what one part draws does not depend on the size of another: networks that differ in one part begin with the same
weights everywhere else, which is what makes replicates under one seed pairs.
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
        torch.manual_seed(int(np.random.SeedSequence((seed, 0, *part.encode())).generate_state(1)[0]))
        yield

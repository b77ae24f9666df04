"""Which source a training segment comes from."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.config import CopiesConfig
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording
from lightning_modules.data.segments import Segments

SECONDS = {"small": 1, "large": 9}
"""Of one language; each frame of `large` is one, of `small` nought."""


def recording(source: str, number: int) -> Recording:
    name = f"{source}/{number}"
    return Recording(
        id=name, path=f"{name}.flac", language="en", source=source, speaker=source, duration_s=1.0, split="train"
    )


RECORDINGS = [recording(source, number) for source, seconds in SECONDS.items() for number in range(seconds)]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    is_large = np.array([each.source == "large" for each in RECORDINGS], dtype=np.float16)
    return FeatureStore(
        tmp_path,
        frames=np.repeat(is_large, 100)[:, None],
        offsets=np.arange(len(RECORDINGS) + 1) * 100,
        ids=[each.id for each in RECORDINGS],
    )


@pytest.mark.parametrize(("exponent", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 0.9)])
def test_sources_are_drawn_by_their_speech_to_the_power_asked_for(
    exponent: float, share: float, store: FeatureStore
) -> None:
    segments = Segments(RECORDINGS, store=store, languages=["en"], copies=CopiesConfig(), source_exponent=exponent)
    rng = np.random.default_rng(0)
    drawn = Counter(float(segments.draw(rng, 0, num_frames=20).mean()) for _ in range(1000))
    assert drawn[1.0] + drawn[0.0] == 1000, "a segment is of one source"
    assert drawn[1.0] / 1000 == pytest.approx(share, abs=0.04)

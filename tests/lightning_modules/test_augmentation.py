"""Augmentation: what each strength does alone, and that none of them breaks a segment.

Shape legend: B segments, T frames, D bands.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_modules.config import AugmentationConfig
from lightning_modules.data.augmentation import add_noise, augment, normalise_segments, raw_frames_needed, resample
from lightning_modules.data.features import normalise

LAW = settings(max_examples=50)
CONFIGS = st.builds(
    AugmentationConfig,
    band_offset=st.floats(0, 5),
    gain=st.floats(0, 5),
    warp=st.floats(0, 0.5),
    speed=st.floats(0, 0.5),
    noise=st.floats(0, 6),
    time_masks=st.integers(0, 10),
    band_masks=st.integers(0, 10),
)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 60), st.integers(8, 20))


def only(**strengths: Any) -> AugmentationConfig:
    """All strengths at zero but those given."""
    return AugmentationConfig.model_validate(
        dict.fromkeys(AugmentationConfig.model_fields, 0) | {"copies": {}} | strengths
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speech(num_segments: int, num_frames: int, num_bands: int, *, seed: int = 0) -> Tensor:
    """Log energies about as spread out as those of speech."""
    return torch.randn(num_segments, num_frames, num_bands, generator=seeded(seed)) * 2 - 6


def augmented(x_BTD: Tensor, config: AugmentationConfig, *, num_frames: int = 50, seed: int = 0) -> Tensor:
    return augment(x_BTD, config, num_frames=num_frames, generator=seeded(seed))


# --- nothing at all ---------------------------------------------------------------------------------------------------


@given(shape=SHAPES, spare=st.integers(1, 20))
@LAW
def test_without_any_strength_the_first_frames_are_normalised(shape: tuple[int, int, int], spare: int) -> None:
    num_segments, num_frames, num_bands = shape
    x_BTD = speech(num_segments, num_frames + spare, num_bands)
    expected = normalise_segments(x_BTD[:, :num_frames])
    torch.testing.assert_close(augmented(x_BTD, only(), num_frames=num_frames), expected, rtol=0, atol=1e-3)


def test_segments_are_normalised_as_utterances_are() -> None:
    x_BTD = speech(2, 200, 10)
    expected = np.stack([normalise(x_TD.numpy()) for x_TD in x_BTD])
    np.testing.assert_allclose(normalise_segments(x_BTD), expected, atol=1e-3)


def test_a_band_that_never_changes_becomes_zero() -> None:
    x_BTD = speech(1, 50, 8)
    x_BTD[:, :, 3] = -11.5
    assert not normalise_segments(x_BTD)[:, :, 3].any()


# --- everything at once -----------------------------------------------------------------------------------------------


@given(config=CONFIGS, shape=SHAPES, seed=st.integers(0, 2**31))
@LAW
def test_any_strength_gives_whole_finite_segments(
    config: AugmentationConfig, shape: tuple[int, int, int], seed: int
) -> None:
    num_segments, num_frames, num_bands = shape
    x_BTD = speech(num_segments, raw_frames_needed(num_frames, config), num_bands)
    y_BTD = augmented(x_BTD, config, num_frames=num_frames, seed=seed)
    assert y_BTD.shape == shape
    assert y_BTD.dtype == torch.float32
    assert y_BTD.isfinite().all()


def test_the_same_generator_gives_the_same_segments() -> None:
    x_BTD = speech(4, 60, 10)
    assert torch.equal(augmented(x_BTD, AugmentationConfig(), seed=3), augmented(x_BTD, AugmentationConfig(), seed=3))


@pytest.mark.parametrize(
    "strength",
    [
        {"band_offset": 1},
        {"gain": 1},
        {"warp": 0.2},
        {"speed": 0.2},
        {"noise": 3},
        {"time_masks": 3},
        {"band_masks": 3},
    ],
    ids=lambda strength: next(iter(strength)),
)
def test_each_strength_makes_generators_differ(strength: dict[str, float]) -> None:
    x_BTD = speech(4, 61, 10)
    one, other = (augmented(x_BTD, only(**strength), seed=seed) for seed in (0, 1))
    assert (one - other).abs().max() > 0.01


def test_segments_of_a_batch_are_changed_independently() -> None:
    x_BTD = speech(1, 60, 10).expand(2, -1, -1)
    one, other = augmented(x_BTD, only(gain=1, speed=0.1))
    assert (one - other).abs().max() > 0.01


def test_only_the_given_generator_is_drawn_from() -> None:
    before = torch.get_rng_state()
    augmented(speech(2, 60, 10), AugmentationConfig())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_input_is_left_as_it_is() -> None:
    x_BTD = speech(2, 60, 10)
    augmented(x_BTD, AugmentationConfig())
    assert torch.equal(x_BTD, speech(2, 60, 10))


# --- speed and warp ---------------------------------------------------------------------------------------------------


@given(shape=SHAPES, spare=st.integers(0, 20))
@LAW
def test_resampling_by_nothing_is_the_identity(shape: tuple[int, int, int], spare: int) -> None:
    num_segments, num_frames, num_bands = shape
    x_BTD = speech(num_segments, num_frames + spare, num_bands)
    y_BTD = resample(x_BTD, only(), num_frames=num_frames, generator=seeded())
    torch.testing.assert_close(y_BTD, x_BTD[:, :num_frames], rtol=0, atol=1e-3)


@given(speed=st.floats(0.01, 0.5), seed=st.integers(0, 1000))
@LAW
def test_speed_reads_frames_at_a_constant_pace(speed: float, seed: int) -> None:
    config = only(speed=speed)
    num_raw_frames = raw_frames_needed(40, config)
    x_BTD = torch.arange(num_raw_frames).float().view(1, -1, 1).expand(1, -1, 8)
    y_TD = resample(x_BTD, config, num_frames=40, generator=seeded(seed))[0]
    pace = float(y_TD[1, 0])
    assert 1 - speed - 1e-4 <= pace <= 1 + speed + 1e-4
    torch.testing.assert_close(y_TD, (torch.arange(40) * pace).unsqueeze(1).expand(-1, 8), rtol=0, atol=1e-2)


@given(warp=st.floats(0.01, 0.5), seed=st.integers(0, 1000))
@LAW
def test_warp_stretches_the_bands_and_stops_at_the_highest(warp: float, seed: int) -> None:
    x_BTD = torch.arange(20).float().view(1, 1, -1).expand(1, 31, -1)
    y_TD = resample(x_BTD, only(warp=warp), num_frames=30, generator=seeded(seed))[0]
    stretch = float(y_TD[0, 1])
    assert 1 - warp - 1e-4 <= stretch <= 1 + warp + 1e-4
    expected = (torch.arange(20) * stretch).clamp(max=19)
    torch.testing.assert_close(y_TD, expected.expand(30, -1), rtol=0, atol=1e-3)


def test_resampling_interpolates_between_neighbours() -> None:
    x_BTD = speech(1, 80, 10)
    config = only(speed=0.5)
    ramp = torch.arange(80).float().view(1, -1, 1).expand(1, -1, 10)
    places = resample(ramp, config, num_frames=50, generator=seeded())[0, :, 0].double().numpy()
    y_TD = resample(x_BTD, config, num_frames=50, generator=seeded())[0]
    expected = np.stack([np.interp(places, np.arange(80), x_BTD[0, :, band].numpy()) for band in range(10)], axis=1)
    np.testing.assert_allclose(y_TD, expected, atol=1e-3)


@given(num_frames=st.integers(1, 6000), speed=st.floats(0, 0.5))
@LAW
def test_enough_frames_are_drawn_for_the_fastest_speed(num_frames: int, speed: float) -> None:
    last_place = (num_frames - 1) * (1 + speed)
    assert last_place <= raw_frames_needed(num_frames, only(speed=speed)) - 1


# --- noise ------------------------------------------------------------------------------------------------------------


@given(noise=st.floats(0, 6), seed=st.integers(0, 1000))
@LAW
def test_noise_only_adds_energy(noise: float, seed: int) -> None:
    x_BTD = speech(2, 30, 10)
    y_BTD = add_noise(x_BTD, only(noise=noise), generator=seeded(seed))
    assert (y_BTD >= x_BTD).all()
    assert (y_BTD > x_BTD).any()


@given(weak=st.floats(0, 3), more=st.floats(0.1, 3), seed=st.integers(0, 1000))
@LAW
def test_stronger_noise_adds_more(weak: float, more: float, seed: int) -> None:
    x_BTD = speech(2, 30, 10)
    less, noisier = (add_noise(x_BTD, only(noise=noise), generator=seeded(seed)) for noise in (weak, weak + more))
    assert (noisier >= less).all()
    assert noisier.sum() > less.sum()


def test_noise_follows_the_level_of_its_segment() -> None:
    x_BTD = speech(1, 30, 10)
    quiet, loud = (add_noise(x_BTD + gain, only(noise=3), generator=seeded()) for gain in (0.0, 5.0))
    torch.testing.assert_close(loud, quiet + 5.0, rtol=0, atol=1e-4)


# --- what is added to normalised segments -----------------------------------------------------------------------------


def test_a_gain_moves_a_whole_segment() -> None:
    x_BTD = speech(3, 51, 10)
    moved_BTD = augmented(x_BTD, only(gain=1)) - augmented(x_BTD, only())
    torch.testing.assert_close(moved_BTD, moved_BTD[:, :1, :1].expand_as(moved_BTD), rtol=0, atol=1e-5)


def test_a_band_offset_is_constant_over_time() -> None:
    x_BTD = speech(3, 51, 10)
    moved_BTD = augmented(x_BTD, only(band_offset=1)) - augmented(x_BTD, only())
    torch.testing.assert_close(moved_BTD, moved_BTD[:, :1].expand_as(moved_BTD), rtol=0, atol=1e-5)


def test_band_offsets_have_about_the_spread_asked_for() -> None:
    x_BTD = torch.full((2000, 3, 40), -6.0)
    offsets_BTD = augmented(x_BTD, only(band_offset=2), num_frames=2)
    assert float(offsets_BTD[:, 0].std()) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("field", "dim", "longest"), [("time_masks", 1, 5), ("band_masks", 2, 2)])
@pytest.mark.parametrize("count", [1, 4])
def test_masks_set_whole_stretches_to_zero_and_change_nothing_else(
    field: str, dim: int, longest: int, count: int
) -> None:
    x_BTD = speech(20, 51, 12)
    plain, masked = augmented(x_BTD, only()), augmented(x_BTD, only(**{field: count}))
    hidden = (masked == 0).all(dim=3 - dim)
    assert hidden.any()
    assert (hidden.sum(dim=1) <= count * longest).all()
    seen = ~hidden.unsqueeze(3 - dim).expand_as(masked)
    assert torch.equal(masked[seen], plain[seen])


def test_masks_reach_the_first_and_the_last_frame() -> None:
    masked = augmented(speech(300, 51, 8), only(time_masks=1))
    hidden_BT = (masked == 0).all(dim=2)
    assert hidden_BT[:, 0].any()
    assert hidden_BT[:, -1].any()


# --- what stands behind the bands -------------------------------------------------------------------------------------


@given(config=CONFIGS, seed=st.integers(0, 20))
@LAW
def test_what_stands_behind_the_bands_changes_them_in_nothing(config: AugmentationConfig, seed: int) -> None:
    x_BTD, behind_BT2 = speech(2, 80, 10), speech(2, 80, 2, seed=1)
    both_BTD = torch.cat([x_BTD, behind_BT2], dim=2)
    both = augment(both_BTD, config, num_frames=50, generator=seeded(seed), num_behind=2)
    torch.testing.assert_close(both[:, :, :10], augmented(x_BTD, config, seed=seed))


def test_what_stands_behind_the_bands_shares_their_time_and_is_else_left_alone() -> None:
    behind_BT2 = speech(1, 80, 2, seed=1)
    x_BTD = torch.cat([speech(1, 80, 10), behind_BT2], dim=2)
    bands_alone = only(band_offset=2.0, gain=2.0, warp=0.3, noise=5.0, band_masks=5)
    varied = augment(x_BTD, bands_alone, num_frames=50, generator=seeded(), num_behind=2)
    torch.testing.assert_close(varied[:, :, 10:], normalise_segments(behind_BT2[:, :50]))
    in_time = only(speed=0.3, time_masks=3)
    copied = torch.cat([behind_BT2] * 6, dim=2)
    varied = augment(copied, in_time, num_frames=50, generator=seeded(), num_behind=2)
    torch.testing.assert_close(varied[:, :, 10:], varied[:, :, :2])
    assert (varied[0, :, 10:] == 0).all(dim=1).any(), "masked"

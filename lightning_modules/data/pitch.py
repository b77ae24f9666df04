"""Pitch and voicing of each frame, after Kaldi's pitch tracker (Ghahremani et al., ICASSP 2014). Numpy only.

Of the speech below 1 kHz, the normalised cross-correlation of each frame with itself a lag later says how periodic it
is at that lag; the path through all frames' lags that is most periodic, and moves least, is the pitch. Every frame has
one: where nothing is voiced, the path goes from the voiced frame before to the one after, and the second value says so.

Unlike Kaldi's, lags lie on a coarser grid, with a parabola through the best and its neighbours, and no moving mean is
taken out of the pitch: normalisation takes out the utterance's.

Shape legend: N samples, T frames, W samples a window, J lags evenly spaced, S states (lags on a logarithmic grid), M
moves from one state to another.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from lightning_modules.data.audio import Samples

Floats = npt.NDArray[np.float64]

LOWEST_HZ: Final = 60.0
HIGHEST_HZ: Final = 400.0
_STEP: Final = 0.02  # from one lag to the next, as a share of it
_FINER: Final = 2  # places a sample that correlations are made at, and interpolated between
_CUTOFF_HZ: Final = 1000.0
_WINDOW_MS: Final = 25.0
_FAVOUR_OF_SHORT_LAGS_HZ: Final = 10.0
_PENALTY: Final = 0.1  # of a change of the logarithm of the lag, squared, over that of a step
_LARGEST_MOVE: Final = 15  # states from one frame to the next
_BALLAST: Final = 0.1  # of the mean energy of a window: what is much softer counts as unvoiced
_CHUNK: Final = 2000  # frames at a time: what is kept of each is a row of states, some 14 MB a minute


def pitch(samples: Samples, centres_T: npt.NDArray[np.int64], *, sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """(N,) samples -> (T, 2): ln of the pitch in Hz, and Kaldi's measure of voicing turned about, 0 (none) to 1.5.

    Args:
        samples: of any level; silence has a pitch that does not move.
        centres_T: middle sample of each frame.
        sample_rate_hz: of the samples.
    """
    lags_S = _lags(sample_rate_hz)
    if len(samples) == 0:
        samples = np.zeros(1, np.float32)
    low_N = _below(samples.astype(np.float64), _CUTOFF_HZ, sample_rate_hz=sample_rate_hz)
    energy = float(np.square(low_N).mean())
    if energy <= np.finfo(np.float32).tiny:
        return np.tile(np.array([np.log(sample_rate_hz / lags_S[-1]), 0.0], np.float32), (len(centres_T), 1))
    scaled_N = low_N / np.sqrt(energy)
    correlations = [
        _correlations(scaled_N, centres_T[start : start + _CHUNK], lags_S, sample_rate_hz=sample_rate_hz)
        for start in range(0, len(centres_T), _CHUNK)
    ]
    periodic_TS = np.concatenate(correlations)
    best_T = _path(1.0 - periodic_TS * (1.0 - _FAVOUR_OF_SHORT_LAGS_HZ / sample_rate_hz * lags_S))
    voicing_T = 2.0 * (1.0 - (1.0001 - np.clip(periodic_TS[np.arange(len(best_T)), best_T], 0.0, 1.0)) ** 0.15)
    log_hz_T = np.log(sample_rate_hz / lags_S[best_T]) - _STEP * _offsets(periodic_TS, best_T)
    return np.stack([log_hz_T, voicing_T], axis=1).astype(np.float32)


def _offsets(heights_TS: npt.NDArray[np.floating], best_T: npt.NDArray[np.int64]) -> Floats:
    """(T,) states from each to where the parabola through it and its neighbours is highest; 0 where it is no peak."""
    around_T3 = best_T.clip(1, heights_TS.shape[1] - 2)[:, None] + np.arange(-1, 2)
    below_T, at_T, above_T = np.take_along_axis(heights_TS, around_T3, axis=1).astype(np.float64).T
    is_peak_T = (at_T > below_T) & (at_T > above_T)
    bend_T = np.where(is_peak_T, 2.0 * at_T - below_T - above_T, 1.0)
    return np.where(is_peak_T & (around_T3[:, 1] == best_T), 0.5 * (above_T - below_T) / bend_T, 0.0)


def _lags(sample_rate_hz: int) -> Floats:
    """(S,) from short to long, in samples."""
    num_lags = 1 + int(np.log(HIGHEST_HZ / LOWEST_HZ) / _STEP)
    return np.asarray(sample_rate_hz / HIGHEST_HZ * np.exp(_STEP * np.arange(num_lags)), dtype=np.float64)


def _below(samples_N: Floats, cutoff_hz: float, *, sample_rate_hz: int) -> Floats:
    """What lies below a frequency, falling off over the tenth around it, without a delay."""
    spectrum = np.fft.rfft(samples_N)
    frequencies = np.fft.rfftfreq(len(samples_N), 1.0 / sample_rate_hz)
    slope = np.clip((1.05 * cutoff_hz - frequencies) / (0.1 * cutoff_hz), 0.0, 1.0)
    return np.asarray(np.fft.irfft(spectrum * slope, n=len(samples_N)), dtype=np.float64)


def _correlations(
    samples_N: Floats, centres_T: npt.NDArray[np.int64], lags_S: Floats, *, sample_rate_hz: int
) -> npt.NDArray[np.float32]:
    """(T, S) normalised cross-correlation at each lag, of samples of unit power."""
    window, longest = round(_WINDOW_MS * sample_rate_hz / 1000.0), int(np.ceil(lags_S[-1])) + 1
    size = window + longest
    padded = np.pad(samples_N, (size, size))
    starts_T = np.clip(centres_T, 0, len(samples_N)) + size - size // 2
    frames_TW = padded[starts_T[:, None] + np.arange(size)]
    frames_TW -= frames_TW[:, :window].mean(axis=1, keepdims=True)
    length = 1 << (size + window - 1).bit_length()
    product = np.conj(np.fft.rfft(frames_TW[:, :window], n=length)) * np.fft.rfft(frames_TW, n=length)
    crossed_TJ = _FINER * np.fft.irfft(product, n=_FINER * length)[:, : _FINER * longest + 1]
    sums = np.pad(np.square(frames_TW).cumsum(axis=1), ((0, 0), (1, 0)))
    energies_TJ = sums[:, window : window + longest + 1] - sums[:, : longest + 1]
    powers_TS = energies_TJ[:, :1] * energies_TJ[:, np.rint(lags_S).astype(np.int64)]
    below_S = np.floor(_FINER * lags_S).astype(np.int64)
    share_S = _FINER * lags_S - below_S
    crossed_TS = crossed_TJ[:, below_S] * (1.0 - share_S) + crossed_TJ[:, below_S + 1] * share_S
    return np.asarray(crossed_TS / np.sqrt(powers_TS + (_BALLAST * window) ** 2), dtype=np.float32)


def _path(costs_TS: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """(T,) the states whose costs and moves add up to least (Viterbi)."""
    num_frames, num_states = costs_TS.shape
    penalties_M1 = _PENALTY / _STEP * np.square(_STEP * np.arange(-_LARGEST_MOVE, _LARGEST_MOVE + 1))[:, None]
    totals = np.full(num_states + 2 * _LARGEST_MOVE, np.inf)  # with none to come from on either side
    total_S = totals[_LARGEST_MOVE:-_LARGEST_MOVE]
    before_MS = np.lib.stride_tricks.sliding_window_view(totals, num_states)
    total_S[:] = costs_TS[0]
    came_TS = np.zeros((num_frames, num_states), np.int8)
    for t in range(1, num_frames):
        reached_MS = before_MS + penalties_M1
        came = reached_MS.argmin(axis=0)
        came_TS[t] = came - _LARGEST_MOVE
        np.add(np.take_along_axis(reached_MS, came[None], axis=0)[0], costs_TS[t], out=total_S)
        total_S -= total_S.min()
    states_T = np.empty(num_frames, np.int64)
    states_T[-1] = total_S.argmin()
    for t in range(num_frames - 1, 0, -1):
        states_T[t - 1] = states_T[t] + came_TS[t, states_T[t]]
    return states_T

"""Speech from the eSpeak NG library, in a process of its own: a voice without its dictionary can abort a process."""

import ctypes
import errno
import io
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_SYNCHRONOUS: Final = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback, and the call returns when all are there
_UTF8: Final = 1
_SEED: Final = 1
_WRITE_FAILED: Final = 100  # exit status of the process, plus the error's number


@dataclass(frozen=True, kw_only=True)
class Line:
    """One text, who says it and where it goes.

    Attributes:
        variant: a voice variant of eSpeak NG (`f2`, `Alex`).
        text: in the language of the voice.
        path: WAV file.
    """

    variant: str
    text: str
    path: Path


def synthesiser_available() -> bool:
    """Whether the extra `synth` is installed."""
    return find_spec("espeakng_loader") is not None and find_spec("babel") is not None


def speak_apart(language: str, lines: Sequence[Line]) -> bool:
    """Synthesises the lines of one language in a process of its own; False where that process did not end well.

    Raises:
        OSError: the files could not be written.
    """
    process = multiprocessing.get_context("spawn").Process(target=_speak_and_exit, args=(language, lines))
    process.start()
    process.join()
    if process.exitcode is not None and process.exitcode > _WRITE_FAILED:
        number = process.exitcode - _WRITE_FAILED
        raise OSError(number, os.strerror(number), str(lines[0].path.parent))
    return process.exitcode == 0


def _speak_and_exit(language: str, lines: Sequence[Line]) -> None:
    try:
        speak(language, lines)
    except OSError as error:
        sys.exit(_WRITE_FAILED + (error.errno or errno.EIO))


def speak(language: str, lines: Sequence[Line]) -> None:
    """Synthesises the lines of one language in this process.

    Raises:
        ValueError: the library does not know the language or a variant.
    """
    import soundfile

    library, rate_hz = _library()
    pieces: list[npt.NDArray[np.int16]] = []
    keep = _callback_into(pieces)
    library.espeak_SetSynthCallback(keep)
    for line in lines:
        library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # some voices breathe, and would at random
        if library.espeak_SetVoiceByName(f"{language}+{line.variant}".encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {language}+{line.variant}.")
        pieces.clear()
        text = line.text.encode()
        library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8, None, None)
        line.path.parent.mkdir(parents=True, exist_ok=True)
        encoded = io.BytesIO()  # soundfile does not say that a disk is full, Python's own files do
        soundfile.write(encoded, np.concatenate([np.zeros(1, np.int16), *pieces]), rate_hz, format="WAV")
        line.path.write_bytes(encoded.getvalue())


def _library() -> tuple[ctypes.CDLL, int]:
    """The library, ready, and the sample rate in Hz."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)


def _callback_into(pieces: list[npt.NDArray[np.int16]]) -> Any:
    def keep(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(keep)

"""GPUs: what the driver lists, what torch sees, and whether the two fit together.

torch is asked in a process of its own with a time limit: a driver that hangs would hang us, and this process stays
free of CUDA.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lightning_modules.errors import ConfigError
from study.devices import find_gpus
from study.doctor._base import Finding

TORCH_S: Final = 120.0
DRIVER_S: Final = 10.0
ASK: Final = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
names = [torch.cuda.get_device_name(index) for index in range(count)]
if count:
    assert float((torch.ones(8, device="cuda:0") * 2).sum()) == 16
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "names": names}))
"""

Ask = Callable[[Sequence[str], float], str]
"""Runs a command within so many seconds and returns what it printed; OSError or SubprocessError if it does not."""


@dataclass(frozen=True)
class TorchView:
    """What torch says.

    Attributes:
        version: torch's.
        cuda: the CUDA version that it was built for, or None.
        names: of the GPUs that it can use.
    """

    version: str
    cuda: str | None
    names: tuple[str, ...]


def look_at_devices(_: Path) -> list[Finding]:
    """This machine's GPUs."""
    try:
        gpus = find_gpus()
    except ConfigError as error:
        return [Finding("gpus", str(error), "set CUDA_VISIBLE_DEVICES to the GPUs that trials may use, or unset it")]
    return examine_devices(tuple(device.name for device in gpus), ask=run)


def examine_devices(gpus: tuple[str, ...], *, ask: Ask) -> list[Finding]:
    """Compares the driver's list with torch's.

    Args:
        gpus: names of the devices that a sweep would find.
        ask: runs commands.
    """
    listed = Finding("gpus", f"{len(gpus)}: {', '.join(gpus)}" if gpus else "none, so trials train on the CPU")
    try:
        told = json.loads(ask([sys.executable, "-c", ASK], TORCH_S).strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        mend = "the driver hangs; try nvidia-smi, then restart the machine, or sweep with --devices cpu"
        return [listed, Finding("torch", f"no answer in {TORCH_S:.0f} s", mend)]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        mend = "install it again with `pip install -e . -c constraints.txt`, or sweep with --devices cpu"
        return [listed, Finding("torch", f"it does not work: {_last_line(error)}", mend)]
    view = TorchView(told["version"], told["cuda"], tuple(told["names"]))
    return [listed, _torch(view, gpus), *(_driver(view, ask) if gpus else [])]


def run(command: Sequence[str], limit_s: float) -> str:
    """Runs a command."""
    return subprocess.run(list(command), capture_output=True, text=True, check=True, timeout=limit_s).stdout


def _torch(view: TorchView, gpus: tuple[str, ...]) -> Finding:
    build = f"CUDA {view.cuda}" if view.cuda else "the CPU only"
    seen = f"{view.version}, built for {build}, sees {', '.join(view.names) or 'no GPU'}"
    if len(view.names) >= len(gpus):
        return Finding("torch", seen)
    mend = (
        f"torch sees {len(view.names)} of {len(gpus)} GPUs: bring the driver up to the CUDA that torch was built for"
        if view.cuda
        else "install a torch that was built for CUDA"
    )
    return Finding("torch", seen, f"{mend}, or sweep with --devices cpu")


def _driver(view: TorchView, ask: Ask) -> list[Finding]:
    """A driver serves any CUDA of its own major version, and all older ones."""
    try:
        found = re.search(r"Driver Version: *([\d.]+).*?CUDA Version: *([\d.]+)", ask(["nvidia-smi"], DRIVER_S))
    except (OSError, subprocess.SubprocessError):
        found = None
    if found is None or view.cuda is None:
        return []
    seen = f"{found[1]}, serves CUDA {found[2]}"
    if int(found[2].split(".")[0]) >= int(view.cuda.split(".")[0]):
        return [Finding("driver", seen)]
    return [Finding("driver", seen, f"torch needs CUDA {view.cuda}: install a newer driver, or an older torch")]


def _last_line(error: Exception) -> str:
    words = error.stderr if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
    lines = str(words).strip().splitlines()
    return lines[-1] if lines else type(error).__name__

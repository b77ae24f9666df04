"""Gates and recurrent blocks of torch's recurrent layers: their names, spectral radii, and how saturated they are.

A recurrent matrix weight_hh is (G H, H): G blocks of H x H, a gate each, in torch's order.

Shape legend: B utterances, S steps, F values an input, H hidden units of one direction, G gates.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_modules.encoders import Encoder
from lightning_modules.encoders.recurrent import RecurrentEncoder

GATES: Final = {
    1: ("state",),
    3: ("reset", "update", "candidate"),
    4: ("input", "forget", "candidate", "output"),
}
"""Names of the blocks of a recurrent matrix, by their number."""
SIGMOIDS: Final = {"reset", "update", "input", "forget", "output"}
NUM_SQUARINGS: Final = 10
SATURATED: Final = 0.1
"""A gate is saturated below this, and above 1 minus this."""
NUM_UTTERANCES: Final = 4
"""That saturation is measured on."""
_RECURRENT: Final = re.compile(r"(?:weight|bias)_(?:ih|hh)(?:_(l\d+(?:_reverse)?))?")


def layer_of(path: str) -> str:
    """The layer that a parameter belongs to: its module, and `.l0`, `.l0_reverse`, … in a stack of recurrent layers."""
    module, _, name = path.rpartition(".")
    found = _RECURRENT.fullmatch(name)
    return f"{module}.{found[1]}" if found and found[1] else module


def recurrent_blocks(path: str, matrix: Tensor) -> dict[str, Tensor]:
    """Gate -> its (H, H) block of a recurrent matrix; nothing of any other parameter."""
    if not path.rpartition(".")[2].startswith("weight_hh") or matrix.ndim != 2:  # noqa: PLR2004 - a matrix
        return {}
    names = GATES.get(matrix.shape[0] // matrix.shape[1], ())
    return dict(zip(names, torch.split(matrix, matrix.shape[1]), strict=True)) if names else {}


def spectral_radii(blocks_NHH: Tensor) -> Tensor:
    """(N,) largest absolute eigenvalues, from above: ρ <= |W^k|^(1/k) <= ρ · (κ √H)^(1/k) with k = 1024.

    Gelfand's formula (1941) in the Frobenius norm; κ is the condition of the eigenvectors, so that the last factor is
    below 1.01 for κ √H up to 2e4. Squaring ten times takes a third of what eigenvalues take, and runs on any device.
    """
    power_NHH = blocks_NHH.float()
    log_N = torch.zeros(len(blocks_NHH), device=blocks_NHH.device)
    for squaring in range(NUM_SQUARINGS + 1):
        norm_N = torch.linalg.matrix_norm(power_NHH)
        log_N = log_N + norm_N.log() / 2**squaring
        if squaring < NUM_SQUARINGS:
            power_NHH = power_NHH / norm_N.clamp(min=torch.finfo().tiny)[:, None, None]
            power_NHH = power_NHH @ power_NHH
    return log_N.exp()


@torch.no_grad()
def gate_saturation(encoder: Encoder, x_BTF: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
    """`<layer>/<gate>` -> share of the gate's activations below 0.1 or above 0.9, over utterances, steps and units.

    Measured on a few utterances, cut to the shortest of them, that the encoder reads once more without dropout: its
    GRUs and LSTMs give all states at once, and the gates follow from the states before and the inputs. Encoders
    without these have no gates here. In a hierarchy, what the last window of a level reads past its end counts too.
    """
    num_frames = int(lengths_B[:NUM_UTTERANCES].min())
    x_BTF = x_BTF[:NUM_UTTERANCES, :num_frames]
    is_training, window = encoder.training, None
    encoder.eval()
    if isinstance(encoder, RecurrentEncoder):
        # States flow across the borders of truncated BPTT; a hook would see each window begin anew.
        window, encoder.window = encoder.window, None
    found: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(_reader(path, found))
        for path, module in encoder.named_modules()
        if isinstance(module, nn.GRU | nn.LSTM)
    ]
    try:
        if hooks:
            encoder(x_BTF, torch.full((len(x_BTF),), num_frames, device=lengths_B.device))
    finally:
        for hook in hooks:
            hook.remove()
        encoder.train(is_training)
        if isinstance(encoder, RecurrentEncoder):
            encoder.window = window
    return found


def _reader(path: str, found: dict[str, Tensor]) -> Any:
    """A hook that sees what a recurrent module is given, and measures its gates."""

    def read(module: nn.GRU | nn.LSTM, inputs: tuple[Any, ...]) -> None:
        for layer, gates_BSG in _gates(module, inputs[0]):
            for gate, before_BSH in zip(
                GATES[gates_BSG.shape[-1] // module.hidden_size],
                torch.split(gates_BSG, module.hidden_size, -1),
                strict=True,
            ):
                if gate in SIGMOIDS:
                    gate_BSH = before_BSH.sigmoid()
                    is_saturated = (gate_BSH < SATURATED) | (gate_BSH > 1.0 - SATURATED)
                    found[f"{path}.{layer}/{gate}"] = is_saturated.float().mean()

    return read


def _gates(module: nn.GRU | nn.LSTM, x_BSF: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(layer, what goes into its gates' activations (B, S, G H)), from the bottom up.

    A GRU's candidate is not what it is in the network, but it is no gate.
    """
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for layer in range(module.num_layers):
        h_BSH = _one_layer(module, layer, x_BSF)
        for direction, states_BSH in enumerate(torch.split(h_BSH, module.hidden_size, dim=-1)):
            suffix = f"l{layer}_reverse" if direction else f"l{layer}"
            weight_ih, weight_hh, bias_ih, bias_hh = (getattr(module, f"{name}_{suffix}") for name in names)
            before_BSH = states_BSH.roll(-1 if direction else 1, dims=1)
            before_BSH[:, -1 if direction else 0] = 0.0
            yield (
                suffix,
                nn.functional.linear(x_BSF, weight_ih, bias_ih) + nn.functional.linear(before_BSH, weight_hh, bias_hh),
            )
        x_BSF = h_BSH


def _one_layer(module: nn.GRU | nn.LSTM, layer: int, x_BSF: Tensor) -> Tensor:
    """What one layer of a stack, of both directions, makes of its input: a module of copies of its parameters.

    Copies, since cuDNN wants the parameters of what it runs in one piece, and would move the stack's own.
    """
    width = module.input_size if layer == 0 else module.hidden_size * (2 if module.bidirectional else 1)
    alone = type(module)(width, module.hidden_size, batch_first=True, bidirectional=module.bidirectional, device="meta")
    alone = alone.to_empty(device=next(module.parameters()).device)
    for name, parameter in alone.named_parameters():
        parameter.copy_(getattr(module, name.replace("_l0", f"_l{layer}")))
    h_BSH: Tensor = alone(x_BSF)[0]
    return h_BSH

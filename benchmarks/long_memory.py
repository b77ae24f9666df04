"""The adding and the copying problem (Hochreiter & Schmidhuber, 1997): what is seen early is asked for at the end.

adding: 2 values a step, a number drawn from [0, 1) and a mark. Two steps are marked, one in each half of the sequence;
the network says the sum of their numbers after the last step (Le et al., 2015; Arjovsky et al., 2016). Loss: mean
squared error. To say 1 whatever is seen costs 2 var(U(0, 1)) = 1/6.

copying: 10 symbols of 8, then T - 1 blanks, a sign, and 10 blanks, over which the symbols have to be said in order
(Arjovsky et al., 2016): T + 20 steps. Loss: mean cross-entropy of the 10 outputs at the end, in nats. To say nothing
costs ln 8; the papers' 10 ln 8 / (T + 20) is the same taken over all outputs, of which the others are free.

Shape legend: B sequences, T steps, F values a step, H hidden units, O outputs a step.
"""

import math
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.config import FullBPTTConfig, LastPoolingConfig, RecurrentEncoderConfig
from lightning_modules.encoders import Tap
from lightning_modules.encoders.recurrent import RecurrentEncoder
from lightning_modules.pooling import Pooling

Task = Literal["adding", "copying"]
NUM_SYMBOLS: Final = 8
NUM_COPIED: Final = 10
BLANK, SIGN = NUM_SYMBOLS, NUM_SYMBOLS + 1
BASELINE: Final[dict[Task, float]] = {"adding": 1.0 / 6.0, "copying": math.log(NUM_SYMBOLS)}
INPUT_SIZE: Final[dict[Task, int]] = {"adding": 2, "copying": NUM_SYMBOLS + 2}
OUTPUT_SIZE: Final[dict[Task, int]] = {"adding": 1, "copying": NUM_SYMBOLS}


class Sequences(NamedTuple):
    """(B, T, F) inputs and what is asked: (B,) sums, or (B, 10) symbols."""

    inputs: Tensor
    targets: Tensor


def draw(task: Task, *, num_sequences: int, memory: int, generator: torch.Generator) -> Sequences:
    """Sequences of a problem.

    Args:
        task: which problem.
        num_sequences: B.
        memory: the T of the papers: steps of adding; copying has 20 more.
        generator: where all chance comes from.
    """
    match task:
        case "adding":
            return _adding(num_sequences, memory, generator)
        case "copying":
            return _copying(num_sequences, memory, generator)


def _adding(num_sequences: int, num_steps: int, generator: torch.Generator) -> Sequences:
    numbers_BT = torch.rand(num_sequences, num_steps, generator=generator)
    half = num_steps // 2
    first_B1 = torch.randint(half, (num_sequences, 1), generator=generator)
    second_B1 = torch.randint(half, num_steps, (num_sequences, 1), generator=generator)
    marks_BT = torch.zeros_like(numbers_BT).scatter_(1, torch.cat([first_B1, second_B1], dim=1), 1.0)
    return Sequences(torch.stack([numbers_BT, marks_BT], dim=-1), (numbers_BT * marks_BT).sum(dim=1))


def _copying(num_sequences: int, memory: int, generator: torch.Generator) -> Sequences:
    symbols_BN = torch.randint(NUM_SYMBOLS, (num_sequences, NUM_COPIED), generator=generator)
    seen_BT = torch.full((num_sequences, memory + 2 * NUM_COPIED), BLANK)
    seen_BT[:, :NUM_COPIED] = symbols_BN
    seen_BT[:, NUM_COPIED + memory - 1] = SIGN
    return Sequences(nn.functional.one_hot(seen_BT, NUM_SYMBOLS + 2).float(), symbols_BN)


class MemoryNetwork(nn.Module):
    """The encoder of lightning_modules and an output layer: on its last state (adding) or its last ten (copying)."""

    def __init__(self, task: Task, encoder: RecurrentEncoderConfig) -> None:
        super().__init__()
        self.task = task
        self.encoder = RecurrentEncoder(encoder, input_size=INPUT_SIZE[task], bptt=FullBPTTConfig())
        self.pooling = Pooling(LastPoolingConfig(), input_size=self.encoder.output_size, bidirectional=False)
        self.output = nn.Linear(self.encoder.output_size, OUTPUT_SIZE[task])

    def loss(self, sequences: Sequences, *, tap: Tap | None = None) -> Tensor:
        """Mean over the sequences; a tap sees the states."""
        num_sequences, num_steps = sequences.inputs.shape[:2]
        encoded = self.encoder(sequences.inputs, torch.full((num_sequences,), num_steps), tap=tap)
        if self.task == "adding":
            sums_B = self.output(self.pooling(encoded.states, encoded.steps).embedding).squeeze(-1)
            return nn.functional.mse_loss(sums_B, sequences.targets)
        scores_BNO = self.output(encoded.states[:, -NUM_COPIED:])
        return nn.functional.cross_entropy(scores_BNO.flatten(0, 1), sequences.targets.flatten())

"""Draws the pictures of docs/models.md: `python docs/draw_models.py` writes docs/images/models/*.svg."""

import itertools
from collections.abc import Callable
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "images" / "models"
INPUT, STATE, OUTPUT, NOTE = "#e8eef7", "#fdf0d5", "#dff0e3", "#f3e6f5"
LINE = "#3b4252"
HEIGHT = 34


class Picture:
    """Boxes and arrows; y grows upwards, so that inputs stand at the bottom as in lectures."""

    def __init__(self, name: str, *, width: int, height: int, title: str) -> None:
        self._path = FOLDER / f"{name}.svg"
        self._size = (width, height)
        self._title = title
        self._parts: list[str] = []

    def box(self, x: float, y: float, text: str, *, fill: str = STATE, width: float = 74) -> tuple[float, float, float]:
        """A box around (x, y); returns its place for arrows."""
        top = self._size[1] - y
        self._parts.append(
            f'<rect x="{x - width / 2:g}" y="{top - HEIGHT / 2:g}" width="{width:g}" height="{HEIGHT}" rx="6" '
            f'fill="{fill}" stroke="{LINE}"/>'
        )
        self.text(x, y - 5, text)
        return x, y, width

    def text(self, x: float, y: float, text: str, *, size: int = 13, anchor: str = "middle") -> None:
        """A line of text with its baseline at y."""
        self._parts.append(
            f'<text x="{x:g}" y="{self._size[1] - y:g}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def cell(self, x: float, y: float) -> None:
        """A small input without a name."""
        top = self._size[1] - y
        self._parts.append(
            f'<rect x="{x - 10:g}" y="{top - 12:g}" width="20" height="24" fill="{INPUT}" stroke="{LINE}"/>'
        )

    def arrow(self, start: tuple[float, float], end: tuple[float, float], *, dashed: bool = False) -> None:
        """A straight arrow."""
        height, dash = self._size[1], ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<line x1="{start[0]:g}" y1="{height - start[1]:g}" x2="{end[0]:g}" y2="{height - end[1]:g}" '
            f'stroke="{LINE}" stroke-width="1.4" marker-end="url(#tip)"{dash}/>'
        )

    def up(self, low: tuple[float, float, float], high: tuple[float, float, float], *, dashed: bool = False) -> None:
        """From the top of a box to the bottom of a higher one."""
        self.arrow((low[0], low[1] + HEIGHT / 2), (high[0], high[1] - HEIGHT / 2 - 2), dashed=dashed)

    def across(self, one: tuple[float, float, float], other: tuple[float, float, float]) -> None:
        """From a box to its neighbour, in either direction."""
        sign = 1 if other[0] > one[0] else -1
        self.arrow((one[0] + sign * one[2] / 2, one[1]), (other[0] - sign * (other[2] / 2 + 2), other[1]))

    def chain(self, boxes: list[tuple[float, float, float]]) -> None:
        """From each box to the next."""
        for one, other in itertools.pairwise(boxes):
            self.across(one, other)

    def save(self) -> None:
        """Writes the file."""
        width, height = self._size
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="Helvetica, Arial, sans-serif" fill="#1c1f26" role="img" '
            f'aria-label="{escape(self._title)}">\n'
            f'<title>{escape(self._title)}</title>\n<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


def recurrent() -> None:
    """Both directions, unrolled, and pooling."""
    picture = Picture("recurrent", width=700, height=330, title="A bidirectional recurrent network, unrolled over time")
    places = [100, 220, 340, 460]
    frames = [picture.box(x, 40, f"x({t})", fill=INPUT) for t, x in enumerate(places, start=1)]
    forward = [picture.box(x - 22, 115, f"h→({t})", width=64) for t, x in enumerate(places, start=1)]
    backward = [picture.box(x + 22, 180, f"h←({t})", width=64) for t, x in enumerate(places, start=1)]
    pooled = picture.box(280, 250, "pooling over t", fill=NOTE, width=420)
    scores = picture.box(280, 305, "head: log p(language | utterance)", fill=OUTPUT, width=260)
    for frame, ahead, behind in zip(frames, forward, backward, strict=True):
        picture.arrow((ahead[0], frame[1] + HEIGHT / 2), (ahead[0], ahead[1] - HEIGHT / 2 - 2))
        picture.arrow((behind[0] + 14, frame[1] + HEIGHT / 2), (behind[0] + 14, behind[1] - HEIGHT / 2 - 2))
        picture.arrow((ahead[0] - 12, ahead[1] + HEIGHT / 2), (ahead[0] - 12, pooled[1] - HEIGHT / 2 - 2))
        picture.arrow((behind[0], behind[1] + HEIGHT / 2), (behind[0], pooled[1] - HEIGHT / 2 - 2))
    picture.chain(forward)
    picture.chain(backward[::-1])
    picture.up(pooled, scores)
    picture.text(520, 115, "reads forwards", anchor="start", size=12)
    picture.text(530, 178, "reads backwards", anchor="start", size=12)
    picture.text(510, 36, "frames, 1 or more a step", anchor="start", size=12)
    picture.save()


def output_recurrent() -> None:
    """Recurrence through the output alone."""
    picture = Picture(
        "output_recurrent", width=640, height=270, title="A network whose recurrence is through its output"
    )
    places = [100, 270, 440]
    frames = [picture.box(x, 40, f"x({t})", fill=INPUT) for t, x in enumerate(places, start=1)]
    hidden = [picture.box(x, 120, f"h({t})") for t, x in enumerate(places, start=1)]
    outputs = [picture.box(x, 200, f"y({t})", fill=OUTPUT) for t, x in enumerate(places, start=1)]
    for column in zip(frames, hidden, outputs, strict=True):
        picture.up(column[0], column[1])
        picture.up(column[1], column[2])
    for output, state in zip(outputs, hidden[1:], strict=False):
        picture.arrow((output[0] + 37, output[1]), (state[0] - 39, state[1] + 4))
    picture.text(320, 245, "training may feed back the true output instead of y(t): teacher forcing", size=12)
    picture.save()


def hierarchical() -> None:
    """Three levels, each keeping the last state of its windows."""
    picture = Picture("hierarchical", width=900, height=430, title="The hierarchical GRU of Padi et al. (2019)")
    for number in range(24):
        picture.cell(40 + number * 25, 40)
    windows = [picture.box(90 + number * 120, 120, "GRU-256", width=86) for number in range(5)]
    for number, window in enumerate(windows):
        picture.arrow((40 + number * 120, 54), (window[0] - 30, 101))
        picture.arrow((140 + number * 120, 54), (window[0] + 30, 101))
    seconds = [picture.box(x, 200, "GRU-512", width=110) for x in (130, 330, 530)]
    for window, place in zip(windows, (0, 0, 1, 1, 2), strict=True):
        picture.up(window, seconds[place])
    top = [picture.box(x, 280, "BiGRU-512", width=110) for x in (130, 330, 530)]
    for low, high in zip(seconds, top, strict=True):
        picture.up(low, high)
    picture.chain(top)
    picture.chain(top[::-1])
    attention = picture.box(330, 345, "attention over the seconds", fill=NOTE, width=460)
    for place in top:
        picture.up(place, (place[0], attention[1], 0))
    scores = picture.box(330, 405, "head", fill=OUTPUT, width=200)
    picture.up(attention, scores)
    for y, text in (
        (40, "frames of 10 ms"),
        (120, "20 frames every 10: the last state is kept"),
        (200, "10 of those every 10: the last state is kept"),
        (280, "all seconds, both ways"),
        (405, "one for short, one for long utterances"),
    ):
        picture.text(635, y - 4, text, anchor="start", size=12)
    picture.save()


def layers(name: str, title: str, rows: list[tuple[str, str]], *, notes: list[str]) -> None:
    """A stack of layers, from the bottom up, with a note beside each."""
    picture = Picture(name, width=680, height=30 + 58 * len(rows), title=title)
    boxes = [picture.box(200, 36 + 58 * number, text, fill=fill, width=300) for number, (text, fill) in enumerate(rows)]
    for low, high in itertools.pairwise(boxes):
        picture.up(low, high)
    for box, note in zip(boxes, notes, strict=True):
        picture.text(365, box[1] - 4, note, anchor="start", size=12)
    picture.save()


def tdnn() -> None:
    """The layers of an x-vector network."""
    layers(
        "tdnn",
        "The time-delay network of x-vectors",
        [
            ("frames x(t)", INPUT),
            ("convolution over t-2 … t+2, 512", STATE),
            ("convolution over t-2, t, t+2, 512", STATE),
            ("convolution over t-3, t, t+3, 512", STATE),
            ("512 a frame", STATE),
            ("1500 a frame", STATE),
            ("pooling: mean and deviation", NOTE),
            ("head: log p(language | utterance)", OUTPUT),
        ],
        notes=["", *["ReLU, batch norm over valid frames"] * 5, "", ""],
    )


def ecapa_tdnn() -> None:
    """The layers of ECAPA-TDNN."""
    layers(
        "ecapa_tdnn",
        "ECAPA-TDNN",
        [
            ("frames x(t)", INPUT),
            ("convolution over 5 frames, 512", STATE),
            ("SE-Res2Block, dilation 2", STATE),
            ("SE-Res2Block, dilation 3", STATE),
            ("SE-Res2Block, dilation 4", STATE),
            ("all three blocks joined, 1536 a frame", STATE),
            ("pooling: attentive statistics", NOTE),
            ("head: log p(language | utterance)", OUTPUT),
        ],
        notes=[
            "",
            "ReLU, batch norm over valid frames",
            *["8 chained groups of channels, a gate a channel"] * 3,
            "multi-layer feature aggregation",
            "weights of each channel's own",
            "",
        ],
    )


def attention() -> None:
    """Attention pooling: relevance, weights, weighted mean."""
    picture = Picture("attention", width=680, height=300, title="Attention pooling")
    places = [100, 240, 380, 520]
    states = [picture.box(x, 40, f"h({t})") for t, x in enumerate(places, start=1)]
    weights = [picture.box(x, 120, f"a({t})", fill=NOTE) for t, x in enumerate(places, start=1)]
    pooled = picture.box(310, 205, "l = Σ a(t) h(t)", fill=STATE, width=160)
    head = picture.box(310, 265, "head", fill=OUTPUT)
    for state, weight in zip(states, weights, strict=True):
        picture.up(state, weight)
        picture.arrow((weight[0], weight[1] + 17), (310 + (weight[0] - 310) * 0.3, pooled[1] - 19))
    picture.up(pooled, head)
    picture.text(400, 225, "a = softmax over t of each step's relevance", anchor="start", size=12)
    picture.save()


def labelling() -> None:
    """A language a step of a code-switched recording."""
    picture = Picture("labelling", width=640, height=260, title="Language diarization: a language a step")
    places = [90, 200, 310, 420, 530]
    frames = [picture.box(x, 40, f"x({t})", fill=INPUT) for t, x in enumerate(places, start=1)]
    states = [picture.box(x, 120, f"h({t})") for t, x in enumerate(places, start=1)]
    labels = [
        picture.box(x, 200, name, fill=OUTPUT) for x, name in zip(places, ("es", "es", "fr", "fr", "fr"), strict=True)
    ]
    for column in zip(frames, states, labels, strict=True):
        picture.up(column[0], column[1])
        picture.up(column[1], column[2])
    picture.chain(states)
    picture.text(145, 235, "Spanish", size=12)
    picture.text(420, 235, "French, from another speaker", size=12)
    picture.save()


def sequence() -> None:
    """Encoder and decoder with attention."""
    picture = Picture(
        "sequence", width=700, height=330, title="Encoder and decoder: the languages of a recording in order"
    )
    places = [80, 180, 280, 380]
    frames = [picture.box(x, 40, f"x({t})", fill=INPUT) for t, x in enumerate(places, start=1)]
    states = [picture.box(x, 115, f"h({t})") for t, x in enumerate(places, start=1)]
    attended = picture.box(230, 195, "attention", fill=NOTE, width=330)
    decoder = [picture.box(x, 195, f"d({k})") for k, x in enumerate((460, 560, 650), start=1)]
    outputs = [
        picture.box(x, 285, name, fill=OUTPUT) for x, name in zip((460, 560, 650), ("es", "fr", "end"), strict=True)
    ]
    for frame, state in zip(frames, states, strict=True):
        picture.up(frame, state)
        picture.up(state, (state[0], attended[1], 0))
    picture.chain(states)
    picture.across(attended, decoder[0])
    picture.chain(decoder)
    for state, output in zip(decoder, outputs, strict=True):
        picture.up(state, output)
    for output, state in zip(outputs, decoder[1:], strict=False):
        picture.arrow((output[0] + 30, output[1] - 17), (state[0] - 18, state[1] + 19), dashed=True)
    picture.text(560, 318, "what was named is told to the next step", size=12)
    picture.text(560, 155, "each step attends anew", size=12)
    picture.save()


def reconstruction() -> None:
    """From one vector back to features."""
    picture = Picture("reconstruction", width=640, height=240, title="Reconstruction: from one vector to a sequence")
    embedding = picture.box(80, 120, "embedding", width=100)
    places = [230, 360, 490]
    decoder = [picture.box(x, 120, f"d({k})") for k, x in enumerate(places, start=1)]
    frames = [picture.box(x, 200, f"x̂({k})", fill=OUTPUT) for k, x in enumerate(places, start=1)]
    head = picture.box(80, 200, "head", fill=OUTPUT)
    picture.up(embedding, head)
    picture.across(embedding, decoder[0])
    picture.chain(decoder)
    for state, frame in zip(decoder, frames, strict=True):
        picture.up(state, frame)
    for frame, state in zip(frames, decoder[1:], strict=False):
        picture.arrow((frame[0] + 37, frame[1]), (state[0] - 39, state[1] + 8))
    picture.text(360, 60, "squared error against every tenth frame is added to the loss", size=12)
    picture.save()


PICTURES: tuple[Callable[[], None], ...] = (
    recurrent,
    output_recurrent,
    hierarchical,
    tdnn,
    ecapa_tdnn,
    attention,
    labelling,
    sequence,
    reconstruction,
)

if __name__ == "__main__":
    for draw in PICTURES:
        draw()

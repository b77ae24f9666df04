"""What of a configuration its training never reads: to set or search that changes nothing, and misleads."""

from lightning_modules.config.encoders import HierarchicalEncoderConfig, RecurrentEncoderConfig
from lightning_modules.config.tasks import ClassificationConfig, LabellingConfig, SequenceConfig
from lightning_modules.config.trial import TrialConfig


def unread(config: TrialConfig) -> dict[str, str]:
    """A key, or a section, that nothing reads under the values of others -> which these are."""
    found = {"pooling": _pooling(config), "encoder.forget_bias": _forget_bias(config)}
    features = config.data.features
    if not isinstance(config.task, ClassificationConfig):
        why = f"task.kind {config.task.kind} trains on whole recordings, which task.switching describes"
        found |= dict.fromkeys(("data.segment_s", "data.long_segment_s"), why)
    if features.normalisation != "sliding":
        found["data.features.sliding_s"] = f"data.features.normalisation {features.normalisation} slides nowhere"
    return {path: why for path, why in found.items() if why}


def _pooling(config: TrialConfig) -> str:
    match config.task:
        case ClassificationConfig():
            return ""
        case LabellingConfig():
            return "task.kind labelling tells the language of every step, and pools none"
        case SequenceConfig(attention="none"):
            return ""
        case SequenceConfig(attention=score):
            return f"with task.attention {score} the decoder reads the states themselves"


def _forget_bias(config: TrialConfig) -> str:
    encoder = config.encoder
    match encoder:
        case RecurrentEncoderConfig():
            cells = {encoder.cell}
        case HierarchicalEncoderConfig():
            cells = {encoder.low.cell, encoder.middle.cell, encoder.top.cell}
        case _:
            return ""  # has no such key
    if "lstm" not in cells:
        return f"only an lstm has a forget gate, but the cell is {' and '.join(sorted(cells))}"
    if encoder.initialisation == "uniform":
        return "encoder.initialisation uniform draws every bias"
    return ""

"""Still figures of studies and trials, drawn by matplotlib; what draws them takes data and returns a figure."""

from reports.figures._axes import BLUE, INK, ORANGE, QUIET, RULE, SERIES
from reports.figures.all_trials import Curve, Dot, Panel, curves_figure, scatter_figure
from reports.figures.calibration import Believed, DetLine, calibration_figure, det_figure
from reports.figures.corpus import corpus_figure
from reports.figures.effects import EffectLine, effects_figure
from reports.figures.gradient_flow import FlowLine, flow_figure
from reports.figures.histograms import ScoreHistogram, score_histograms
from reports.figures.one_trial import confusion_figure, learning_curves
from reports.figures.output import to_png, to_svg, to_svg_file

__all__ = [
    "BLUE",
    "INK",
    "ORANGE",
    "QUIET",
    "RULE",
    "SERIES",
    "Believed",
    "Curve",
    "DetLine",
    "Dot",
    "EffectLine",
    "FlowLine",
    "Panel",
    "ScoreHistogram",
    "calibration_figure",
    "confusion_figure",
    "corpus_figure",
    "curves_figure",
    "det_figure",
    "effects_figure",
    "flow_figure",
    "learning_curves",
    "scatter_figure",
    "score_histograms",
    "to_png",
    "to_svg",
    "to_svg_file",
]

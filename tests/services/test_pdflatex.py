"""The tables of a report go into a paper as they are: pdflatex sets them without an error."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from reports.records import StudyRecord
from reports.render import write_report
from tests.reports.conftest import make_demo

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

PAPER = r"""\documentclass{article}
\usepackage{booktabs,graphicx,longtable}
\begin{document}
\input{tables}
\end{document}
"""


def test_pdflatex_sets_every_table(tmp_path: Path) -> None:
    study: StudyRecord = make_demo("odd_name & 100 % \\ {é}")
    assert study.scores_test is not None
    odd = ("[unknown]", "*anon*", "[3cm]", "$x$")
    speakers = tuple(f"{odd[place % len(odd)]}{place}" for place in range(len(study.scores_test.speaker)))
    study = dataclasses.replace(study, scores_test=dataclasses.replace(study.scores_test, speaker=speakers))
    write_report(study, tmp_path)
    (tmp_path / "paper.tex").write_text(PAPER)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert r"Overfull \hbox" not in done.stdout, "tables are made to fit the page"
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    assert r"\begin{longtable}" in (tmp_path / "tables.tex").read_text()

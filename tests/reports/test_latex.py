"""Tables as LaTeX: every character is one that LaTeX sets."""

from pathlib import Path

import pytest

from reports.latex import columns, escaped
from reports.records import StudyRecord
from reports.render import write_report
from reports.sections._blocks import Column, Table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rnn_tanh & 50 % of #1", r"rnn\_tanh \& 50 \% of \#1"),
        (r"a\b {c} ~ ^", r"a\textbackslash{}b \{c\} \textasciitilde{} \textasciicircum{}"),
        ("2.052 ± 0.081, −0.3 – ×", r"2.052 $\pm$ 0.081, $-$0.3 -- $\times$"),
        ("p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.05\n  and", r"p~\textless{}~0.05 and"),
        ("[unknown] *", "{[}unknown] {*}"),
        ("é ü ç č 語", r"\'{e} \"{u} \c{c} \v{c} ?"),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_columns_stand_as_in_the_page() -> None:
    table = Table(caption="", columns=(Column("a", numeric=False), Column("b"), Column("c", wrap=True)), rows=())
    assert columns(table) == "lrp{0.45\\linewidth}"


def test_every_table_of_a_report_is_there_in_ascii_and_the_same_each_time(demo: StudyRecord, tmp_path: Path) -> None:
    first = write_report(demo, tmp_path / "one").latex.read_bytes()
    assert first == write_report(demo, tmp_path / "two").latex.read_bytes()
    text = first.decode("ascii")
    assert text.count(r"\bottomrule") == text.count(r"\caption") > 10
    assert text.count(r"\toprule") == text.count(r"\bottomrule") + text.count(r"\begin{longtable}")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}")
    labels = [line for line in text.splitlines() if r"\label" in line]
    assert len({line[line.index(r"\label") :] for line in labels}) == len(labels)

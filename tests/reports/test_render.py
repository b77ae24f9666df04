import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from reports.records import BEST_OBJECTIVE, OBJECTIVE, StudyRecord, TrialRecord, TrialState
from reports.render import cards, write_report
from reports.trials_table import trials_csv, write_trials_parquet
from tests.reports.helpers import MakeStudy, MakeTrial


@pytest.fixture(params=["demo", "no trials", "running", "one trial", "all diverged", "no metrics", "no data"])
def study(request: pytest.FixtureRequest, demo: StudyRecord, trial: MakeTrial, make_study: MakeStudy) -> StudyRecord:
    bare = TrialRecord(
        run_id="x", number=0, state=TrialState.COMPLETE, seed=0, configuration_hash="", params={}, metrics={},
        history={}, start_ms=0, end_ms=None,
    )  # fmt: skip
    return {
        "demo": demo,
        "no trials": make_study(),
        "running": make_study(trial(0, TrialState.RUNNING)),
        "one trial": make_study(trial(0)),
        "all diverged": make_study(*(trial(i, TrialState.DIVERGED) for i in range(3))),
        "no metrics": make_study(bare),
        "no data": make_study(trial(0), champion=9, test_metrics={"test/accuracy": 0.3}),
    }[request.param]


def test_the_page_needs_nothing_beside_it(study: StudyRecord, tmp_path: Path) -> None:
    page = write_report(study, tmp_path / "report").html.read_text()
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert not re.search(r"""url\(\s*["']?(?:https?:)?//|@import""", page)
    assert "<link" not in page


def test_the_same_runs_give_the_same_bytes(demo: StudyRecord, tmp_path: Path) -> None:
    one, two = (write_report(demo, tmp_path / name) for name in ("one", "two"))
    for kind in ("html", "markdown", "csv", "parquet"):
        assert getattr(one, kind).read_bytes() == getattr(two, kind).read_bytes()
    drawn = sorted(path.name for path in one.figures.iterdir())
    assert drawn
    for name in drawn:
        assert (one.figures / name).read_bytes() == (two.figures / name).read_bytes()


def test_markdown_shows_each_figure_that_lies_beside_it_as_svg_and_png(study: StudyRecord, tmp_path: Path) -> None:
    files = write_report(study, tmp_path)
    shown = re.findall(r"!\[[^\]]+\]\((figures/[^)]+)\.svg\)", files.markdown.read_text())
    assert len(shown) == files.html.read_text().count("<svg role=")
    for name in shown:
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg xmlns=")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert files.figures.exists() == bool(shown)


class Outline(HTMLParser):
    """Ids, targets and nesting of a page."""

    VOID = frozenset({"meta", "br", "link", "input", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.targets += [value[1:] for key, value in attrs if key == "href" and value and value.startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed(study: StudyRecord, tmp_path: Path) -> None:
    outline = Outline()
    outline.feed(write_report(study, tmp_path).html.read_text())
    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.targets) <= set(outline.ids)


def test_what_users_write_is_escaped(trial: MakeTrial, make_study: MakeStudy, tmp_path: Path) -> None:
    broken = dataclasses.replace(trial(0, TrialState.FAILED), failure="<script>alert(1)</script> | a\nb")
    files = write_report(make_study(broken), tmp_path)
    assert "<script>alert" not in files.html.read_text()
    assert_tables_parse(files.markdown.read_text())


def test_prose_is_escaped_in_markdown_too(demo: StudyRecord, tmp_path: Path) -> None:
    manifest = dataclasses.replace(demo.manifest, question="Which <script>alert(1)</script>\n# wins?")
    text = write_report(dataclasses.replace(demo, manifest=manifest), tmp_path).markdown.read_text()
    assert "Which &lt;script>alert(1)&lt;/script> # wins?" in text
    assert "<script>" not in text


def test_what_a_column_means_can_be_read_without_a_mouse(demo: StudyRecord, tmp_path: Path) -> None:
    files = write_report(demo, tmp_path)
    page = files.html.read_text()
    assert "<em>objective</em>: val/cllr_calibrated: mean ± standard deviation over replicates" in page
    assert " title=" not in page
    assert '<th scope="row"' in page
    said = "mean ± standard deviation over replicates; lower is better"
    assert said in files.markdown.read_text()
    assert said.replace("±", r"$\pm$") in files.latex.read_text()


def test_what_an_earlier_report_left_behind_is_removed(demo: StudyRecord, tmp_path: Path) -> None:
    assert demo.scores_test is not None
    heard = dataclasses.replace(demo, clips=dict.fromkeys(demo.scores_test.utterance, b"speech"))
    files = write_report(heard, tmp_path)
    assert list(files.clips.iterdir())
    (files.figures / "old.svg").touch()
    (files.figures / "notes.txt").touch()
    write_report(demo, tmp_path)
    assert not files.clips.exists()
    assert not (files.figures / "old.svg").exists()
    assert (files.figures / "notes.txt").exists(), "nobody's but the user's"


def assert_tables_parse(text: str) -> int:
    """Every row of a Markdown table has as many cells as its head; the number of tables."""
    blocks = [block for block in re.split(r"\n(?!\|)", text) if "\n|" in f"\n{block}"]
    tables = [[line for line in block.splitlines() if line.startswith("|")] for block in blocks]
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
        assert set(cells) == {cells[0]}
        assert re.fullmatch(r"\|( -{3}:? \|)+", table[1])
    return len(tables)


def test_markdown_tables_parse(study: StudyRecord, tmp_path: Path) -> None:
    assert assert_tables_parse(write_report(study, tmp_path).markdown.read_text()) >= 2


def test_csv_has_every_digit(demo: StudyRecord) -> None:
    rows = list(csv.DictReader(io.StringIO(trials_csv(demo))))
    assert [int(row["number"]) for row in rows] == [trial.number for trial in demo.trials]
    for row, trial in zip(rows, demo.trials, strict=True):
        assert row["state"] == trial.state
        assert (float(row[BEST_OBJECTIVE]) if row[BEST_OBJECTIVE] else None) == trial.objective
        assert float(row[OBJECTIVE]) == trial.metrics[OBJECTIVE]
        assert float(row["param:optimizer.learning_rate"]) == trial.params["optimizer.learning_rate"]
        assert row["param:encoder.cell"] == trial.params["encoder.cell"]


def test_parquet_has_the_same_table_with_types(demo: StudyRecord, tmp_path: Path) -> None:
    write_trials_parquet(demo, path=tmp_path / "trials.parquet")
    typed = pd.read_parquet(tmp_path / "trials.parquet")
    text = pd.read_csv(io.StringIO(trials_csv(demo)), keep_default_na=False)
    assert list(typed.columns) == list(text.columns)
    assert list(typed[OBJECTIVE]) == [trial.metrics[OBJECTIVE] for trial in demo.trials]
    rates = [trial.params["optimizer.learning_rate"] for trial in demo.trials]
    assert list(typed["param:optimizer.learning_rate"]) == rates
    assert list(typed["param:encoder.cell"]) == [trial.params["encoder.cell"] for trial in demo.trials]
    seconds = (typed["end"] - typed["start"]).dt.total_seconds()
    known = seconds.notna()
    assert list(seconds[known]) == pytest.approx(list(typed["seconds"][known]))
    assert known.any()


def test_parquet_takes_trials_that_have_nothing(trial: MakeTrial, make_study: MakeStudy, tmp_path: Path) -> None:
    bare = dataclasses.replace(trial(0), params={}, metrics={}, end_ms=None)
    mixed = dataclasses.replace(trial(1), params={"a": 1, "b": [1, 2], "c": True, "d": None})
    write_trials_parquet(make_study(bare, mixed), path=tmp_path / "trials.parquet")
    found = pd.read_parquet(tmp_path / "trials.parquet")
    assert found["param:a"].iloc[1] == 1
    assert (found["param:b"].iloc[1], found["param:c"].iloc[1]) == ("[1, 2]", "true")
    assert pd.isna(found["end"].iloc[0])
    write_trials_parquet(make_study(), path=tmp_path / "none.parquet")
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0


def test_csv_keeps_what_is_not_finite(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = trials_csv(make_study(trial(0, objective=float("inf")), trial(1, objective=float("nan"))))
    assert [row[BEST_OBJECTIVE] for row in csv.DictReader(io.StringIO(found))] == ["inf", "nan"]


def test_cards_say_when_test_data_was_not_looked_at(demo: StudyRecord, trial: MakeTrial, make_study: MakeStudy) -> None:
    assert ("Test accuracy", "0.517") in {(card.title, card.value) for card in cards(demo)}
    assert "not evaluated" in {card.note for card in cards(make_study(trial(0)))}

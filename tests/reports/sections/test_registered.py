from pathlib import Path

from reports import sections
from reports.records import StudyRecord
from reports.sections import SECTIONS


def test_every_file_is_registered() -> None:
    files = {path.stem for path in Path(sections.__file__).parent.glob("[!_]*.py")}
    assert {section.summarise.__module__.rpartition(".")[2] for section in SECTIONS} == files
    assert len({section.key for section in SECTIONS}) == len(SECTIONS)


def test_summaries_are_of_records_alone(demo: StudyRecord) -> None:
    for section in SECTIONS:
        assert section.summarise(demo) == section.summarise(demo)

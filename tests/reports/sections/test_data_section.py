import dataclasses

from reports.sections import data
from tests.reports.helpers import MakeStudy


def test_data_passes_over_rows_that_say_too_little(make_study: MakeStudy) -> None:
    rows = [
        {"split": "test", "language": "en", "source": "a"},
        {"language": "en"},
        {"split": "train", "language": "en", "source": "a"},
    ]
    study = make_study()
    study = dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, corpus={"rows": rows}))
    found = data.summarise(study)
    assert [portion.split for portion in found.portions] == ["train", "test"]
    assert found.overlaps == ("train and test share a",)

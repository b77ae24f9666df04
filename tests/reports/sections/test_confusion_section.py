from reports.sections import confusion
from tests.reports.helpers import MakeStudy, table


def test_confusion_counts_and_names_the_worst_pair(make_study: MakeStudy) -> None:
    rows = [("en", "a", (2.0, -2.0)), ("en", "a", (-1.0, 1.0)), ("es", "b", (-1.0, 1.0)), ("es", "b", (-3.0, 3.0))]
    (matrix,) = confusion.summarise(make_study(scores_dev=table(*rows))).matrices
    assert matrix.counts == ((1, 1), (0, 2))
    assert matrix.worst == ("en", "es", 1, 2)
    assert confusion.sentence(matrix).startswith("On development data “en” is most often taken for “es”: 1 of 2")


def test_no_confusion_is_said_in_words(make_study: MakeStudy) -> None:
    (matrix,) = confusion.summarise(make_study(scores_test=table(("en", "a", (1.0, -1.0))))).matrices
    assert matrix.worst is None
    assert "no utterance is taken for another" in confusion.sentence(matrix)

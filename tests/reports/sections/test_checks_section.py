from reports.records import StudyRecord
from reports.sections import checks


def test_warnings_come_first(demo: StudyRecord) -> None:
    found = checks.summarise(demo)
    order = [finding.status for finding in found.findings]
    assert order == sorted(order, key=["warning", "passed", "skipped"].index)
    assert {"convergence", "failures"} <= {finding.code for finding in found.warnings}

"""`lidstudy doctor`: looks at what a sweep needs, and says what to mend."""

from dataclasses import asdict
from pathlib import Path

from study.commands.console import make_console, print_json
from study.doctor import LOOKS


def examine(folder: Path, *, as_json: bool = False) -> int:
    """Prints all findings; the exit status is 1 if something should be mended."""
    findings = [(group, finding) for group, look in LOOKS.items() for finding in look(folder)]
    if as_json:
        print_json([{"group": group, **asdict(finding)} for group, finding in findings])
    else:
        console = make_console()
        for _, finding in findings:
            mark = "[red]mend[/red]" if finding.mend else "[green]ok[/green]  "
            console.print(f"{mark}  {finding.name:<18} ", end="")
            console.print(finding.seen, markup=False, soft_wrap=True)
            for line in filter(None, (finding.mend, finding.hint)):
                console.print(f"      {'':<18} {line}", markup=False, soft_wrap=True)
    return 1 if any(finding.mend for _, finding in findings) else 0

"""Fail if a test was skipped for a reason that is not listed here, or in every run.

Usage: skips.py REPORT...    (JUnit XML, as pytest writes it)
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

# The README's test command installs none of these packages; a later run has them.
MADE_GOOD = {
    "scikit-learn is not installed",
    "SciPy is not installed",
    "JAX is not installed",
    "Dask is not installed",
    "PyTorch is not installed",
    "neither PyTorch nor JAX is installed",
    "atheris is not installed",
    "numdifftools is not installed",
    "optax is not installed",
    "llvmlite is not installed",
}
# These depend on the machine and its data.
EXCUSED = {"only root may mount"}
# These depend on the version of NumPy.
EXCUSED |= {"this NumPy does not have it", "the page is about another version of NumPy"}
EXCUSED.add("BLAS has one thread")  # on a machine with one processor
if "GRADLAB_DATA" not in os.environ:
    EXCUSED.add("GRADLAB_DATA is not set")
if shutil.which("chromium") is None:
    EXCUSED.add("Chromium is not installed")


def cases(reports: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each test, and the reason if it was skipped."""
    for report in reports:
        for case in ElementTree.parse(Path(report)).iter("testcase"):
            skip = case.find("skipped")
            reason = None if skip is None else skip.get("message", "")
            if skip is not None and reason == "collection skipped":  # a whole module
                reason = (skip.text or "").rpartition("Skipped: ")[2].rstrip("')")
            yield f"{case.get('classname')}.{case.get('name')}", reason


def main(reports: list[str]) -> None:
    """Print how many tests were skipped; exit with an error if one should have run."""
    outcomes = list(cases(reports))
    ran = {test for test, reason in outcomes if reason is None}
    # A whole module that is skipped has an empty class name.
    ran |= {f".{test.rpartition('.')[0]}" for test in ran}
    skipped = {(test, reason) for test, reason in outcomes if reason is not None}
    wrong = sorted(
        f"{test}: {reason}"
        for test, reason in skipped
        if reason not in EXCUSED and not (reason in MADE_GOOD and test in ran)
    )
    excused = sum(reason in EXCUSED for _, reason in skipped)
    print(f"{len(ran)} tests ran; {len(skipped)} were skipped in one run, {excused} in every run")
    if wrong:
        sys.exit("\n".join(["these tests should have run:", *wrong]))


if __name__ == "__main__":
    main(sys.argv[1:])

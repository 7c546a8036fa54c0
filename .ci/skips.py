"""Fail if a test was skipped for a reason that is not listed here, or was skipped in every run.

Usage: skips.py REPORT...    (JUnit XML, as pytest writes it)
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

# The README's test command installs none of these; a later run that has them follows.
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
# Nobody has data that are not there, nor what only an administrator may have.
EXCUSED = {"only root may mount"}
# What another version of NumPy has.
EXCUSED |= {"this NumPy does not have it", "the page is about another version of NumPy"}
EXCUSED.add("BLAS has one thread")  # as on a machine with one processor
if "GRADLAB_DATA" not in os.environ:
    EXCUSED.add("GRADLAB_DATA is not set")
if shutil.which("chromium") is None:
    EXCUSED.add("Chromium is not installed")


def cases(reports: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each test that was run, and why it was skipped if it was."""
    for report in reports:
        for case in ElementTree.parse(Path(report)).iter("testcase"):
            skip = case.find("skipped")
            reason = None if skip is None else skip.get("message", "")
            if skip is not None and reason == "collection skipped":  # a module as a whole
                reason = (skip.text or "").rpartition("Skipped: ")[2].rstrip("')")
            yield f"{case.get('classname')}.{case.get('name')}", reason


def main(reports: list[str]) -> None:
    """Print the tests that were skipped, and exit with an error if one should not have been."""
    outcomes = list(cases(reports))
    ran = {test for test, reason in outcomes if reason is None}
    # A module that is skipped as a whole has an empty class name.
    ran |= {f".{test.rpartition('.')[0]}" for test in ran}
    skipped = {(test, reason) for test, reason in outcomes if reason is not None}
    wrong = sorted(
        f"{test}: {reason}"
        for test, reason in skipped
        if reason not in EXCUSED and not (reason in MADE_GOOD and test in ran)
    )
    excused = sum(reason in EXCUSED for _, reason in skipped)
    print(f"{len(ran)} tests ran; {len(skipped)} were skipped in one run, {excused} in all")
    if wrong:
        sys.exit("\n".join(["these should not have been skipped:", *wrong]))


if __name__ == "__main__":
    main(sys.argv[1:])

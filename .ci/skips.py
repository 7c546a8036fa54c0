"""Fail if a test was skipped for a reason that is not listed here.

Usage: skips.py REPORT...    (JUnit XML, as pytest writes it)
"""

import os
import sys
from xml.etree import ElementTree

# The README's test command installs no scikit-learn; a run that has it follows.
ALLOWED = {"scikit-learn is not installed"}
if "GRADLAB_DATA" not in os.environ:
    ALLOWED.add("GRADLAB_DATA is not set")


def main(reports: list[str]) -> None:
    """Print the reasons of all skipped tests; exit with an error if one is not allowed."""
    reasons = [
        (case.get("classname", ""), case.get("name", ""), skip.get("message", ""))
        for report in reports
        for case in ElementTree.parse(report).iter("testcase")
        for skip in case.findall("skipped")
    ]
    for module, test, reason in reasons:
        print(f"skipped: {module}.{test}: {reason}")
    print(f"{len(reasons)} skipped")
    if wrong := [reason for *_, reason in reasons if reason not in ALLOWED]:
        sys.exit(f"not a reason to skip a test: {', '.join(sorted(set(wrong)))}")


if __name__ == "__main__":
    main(sys.argv[1:])

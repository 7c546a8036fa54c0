"""List the licences of all installed packages; fail if one is not known.

python .ci/licences.py
"""

import re
import sys
from importlib.metadata import Distribution, distributions

KNOWN = "MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL-2.0|Mozilla"
"""Licences under which a library may be used and distributed together with MIT code."""


def licence_of(distribution: Distribution) -> str:
    """Return the licence that a distribution states, in one line."""
    metadata = distribution.metadata
    trove = [c for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    named = ", ".join(classifier.split(" :: ")[-1] for classifier in trove)
    said = [metadata.get("License-Expression"), named, metadata.get("License")]
    return next((" ".join(text.split())[:60] for text in said if text), "")


found = {d.metadata["Name"]: licence_of(d) for d in distributions()}
for name, licence in sorted(found.items(), key=lambda item: item[0].lower()):
    print(f"{name:24} {licence}")
if unknown := [name for name, licence in found.items() if not re.search(KNOWN, licence)]:
    sys.exit(f"licence not known: {', '.join(unknown)}")

"""Print pip's constraints for the lowest versions that pyproject.toml admits.

python .ci/lowest.py dependencies test > constraints.txt
"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
groups = {"dependencies": project["dependencies"], **project["optional-dependencies"]}

for group in sys.argv[1:]:
    for requirement in groups[group]:
        if found := re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement):
            name, version = found.groups()
            print(f"{name}=={version}")

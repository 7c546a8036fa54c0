"""All benchmarks in one run, and one report of it.

The benchmarks are scripts that know nothing of each other (`benchmarks/`, which a wheel takes
along). Each is run in a process of its own, so that one that fails takes nothing with it::

    scripts   which there are, and their questions
    guard     ends a script, and removes its scratch folder, whatever becomes of the run
    running   script  ──►  result: numbers, a figure, or why there are none
    tables    result  ──►  Markdown, CSV
    report    results ──►  one page of HTML that needs nothing else

A folder of results is whole after each script: whatever ends the run, what is done is kept.
"""

from gradlab.bench.report import render
from gradlab.bench.results import ScriptResult
from gradlab.bench.running import bench
from gradlab.bench.scripts import Script, find

__all__ = ["Script", "ScriptResult", "bench", "find", "render"]

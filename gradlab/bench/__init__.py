"""All benchmarks in one run, and one report of it.

The benchmarks are independent scripts (`benchmarks/`, which the wheel includes). Each runs in its
own process, so that a failure does not affect the others::

    scripts   finds the benchmarks and their questions
    guard     ends a script and removes its scratch folder, however the run ends
    running   script  ──►  result: numbers, a figure, or why there are none
    tables    result  ──►  Markdown, CSV
    report    results ──►  one page of HTML that needs nothing else

The folder of results is complete after each script, so finished results survive any interruption.
"""

from gradlab.bench.report import render as render
from gradlab.bench.running import bench as bench
from gradlab.bench.scripts import Script as Script
from gradlab.bench.scripts import ScriptResult as ScriptResult
from gradlab.bench.scripts import find as find

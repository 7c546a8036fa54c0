"""The loss evaluated by several workers.

In reading order:

==============  ===================================================================================
`evaluation`    `Workers`, which a backend holds; all else is imported when a gradient needs it
`gradient`      a gradient in chunks, each answered by one worker
`chunks`        how a gradient is divided
`problem`       what a worker is told, and what it answers
`teams`         who works: our own processes, a function like `map`, or a Dask cluster
`processes`     processes of our own, replaced where one dies or hangs
`mapped`        the files that these share
`dask_cluster`  workers of a Dask cluster
`waiting`       a wait for answers that Ctrl-C may interrupt
`resuming`      the part of a gradient that is done, in a file that outlives the process
==============  ===================================================================================
"""

from gradlab.gradients.workers.evaluation import Workers

__all__ = ["Workers"]

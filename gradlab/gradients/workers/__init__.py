"""The loss evaluated by several workers.

In reading order:

==============  ===================================================================================
`evaluation`    `Workers`, which a backend holds; a gradient imports the rest when it needs it
`gradient`      a gradient in chunks, each computed by one worker
`chunks`        how a gradient is divided
`task`          what a worker receives and returns
`teams`         kinds of workers: our own processes, a function like `map`, or a Dask cluster
`processes`     our own processes, replaced if one dies or hangs
`mapped`        the files that our own processes share
`resuming`      the finished part of a gradient, in a file that outlives the process
==============  ===================================================================================
"""

from gradlab.gradients.workers.evaluation import Workers as Workers

"""A function recorded as data. Nothing here knows a gradient.

A `Program` is a flat list of NumPy calls on named values. Everything else is built on it: it is
recorded, rewritten, printed and run here; `gradients.tape` records a loss together with its
gradient and compiles that; the engine of the finite differences evaluates it under perturbations.

===============  ==================================================================================
`ir`             nodes and programs: what they are, how they are run and printed
`primitives`     one table: a row an operation, with all that is known of it
`stand_ins`      primitives of our own, for what NumPy or autograd does in place
`pieces`         nodes of common operations, and questions about operands
`rewrite`        how a pass is made of a rule; duplicates, constants, what nobody needs
`passes`         the passes that make a program shorter, and `optimise`, which applies them
`record`         runs a function through autograd's tracer: a flat program
===============  ==================================================================================

What a recording takes for data, where a tracer alone would make it a constant:

===============  ==================================================================================
`hooks`          values without a derivative; sums that autograd computes in place
`constants`      arrays from elsewhere: the loss must not write into them while it is recorded
`numbers`        Python numbers that differ at each call
`reasons`        why a loss could not be recorded, in the user's terms
===============  ==================================================================================

When a recording may be used again:

===============  ==================================================================================
`cache_key`      the form of a call, and all that the function reads
`closure`        what a function reads, followed through everything that its code names
`captured`       whether arrays still hold what they held
`references`     whether anybody else holds an array
===============  ==================================================================================
"""

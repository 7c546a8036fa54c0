"""A function recorded as data, without gradients.

A `Program` is a flat list of NumPy calls on named values. This package records, rewrites, prints
and runs programs. `gradients.tape` records a loss together with its gradient and compiles both. The
engine of the finite differences evaluates programs under perturbations.

===============  ==================================================================================
`ir`             nodes and programs; how a program is run and printed
`primitives`     one table: a row per operation, with all its known properties
`stand_ins`      our own primitives, for operations that NumPy or autograd does in place
`pieces`         nodes of common operations; properties of operands
`rewrite`        makes a pass of a rule; removes duplicates and unused values; constants
`passes`         the passes that make a program shorter, and `optimise`, which applies them
`record`         runs a function through autograd's tracer: a flat program
===============  ==================================================================================

Values that become data of a recording, where a tracer alone would make them constants:

===============  ==================================================================================
`hooks`          functions without a derivative; sums that autograd computes in place
`constants`      captured arrays: the loss must not write into them while it is recorded
`numbers`        Python numbers that differ at each call
`reasons`        why a loss could not be recorded, in the user's terms
===============  ==================================================================================

When a recording may be reused:

===============  ==================================================================================
`cache_key`      the form of a call, and everything that the function reads
`closure`        finds what a function reads, by following all names in its code
`captured`       whether the contents of arrays have changed
`references`     whether an array has other references
===============  ==================================================================================
"""

"""Numerical differentiation: gradients from values of the loss only.

In reading order:

==============  ===================================================================================
`formulas`      forward and central differences, of second and fourth order
`steps`         the step of each entry
`numerical`     the common part: step, dtype, and the evaluation of the loss
`difference`    a gradient by differences; decides which entries are measured again
`closer`        measures an entry again: smaller steps, until two slopes agree
`richardson`    large steps, extrapolated to step 0
`complex_step`  a step along the imaginary axis, without a subtraction
==============  ===================================================================================

A formula defines which values of the loss are needed. A `gradlab.gradients.probing.Evaluation`
decides how they are computed: one by one, from a recording, or by several workers.
"""

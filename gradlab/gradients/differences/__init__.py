"""Numerical differentiation: gradients from values of the loss alone.

In reading order:

==============  ===================================================================================
`formulas`      forward and central differences, of second and fourth order
`steps`         the step of each entry
`numerical`     what all of these share: a step, a dtype, and how the loss is evaluated
`difference`    a gradient by differences, and when an entry needs a second look
`closer`        the second look: smaller steps, until two slopes agree
`richardson`    large steps, extrapolated to step 0
`complex_step`  a step along the imaginary axis, without a subtraction
==============  ===================================================================================

A formula knows which values of the loss it needs, and a `gradlab.gradients.probing.Evaluation` how
to get them: one by one, from a recording, or by several workers.
"""

"""NumPy's protocols on traced arrays: gradlab differentiates losses in unmodified plain NumPy.

A loss calls NumPy. If an argument is traced, NumPy hands the call to the traced array, which finds
an implementation for its library. The files in reading order, first what happens in a call:

==============  ===================================================================================
`traced`        the traced array: what the arrays of all libraries have in common
`operators`     its operators, and its methods that are functions of NumPy
`views`         which traced arrays are views of others
`dispatch`      how a function of NumPy is evaluated on traced arrays
`composites`    functions in terms of simpler ones, for all libraries
`of_scipy`      the same for SciPy's functions
`numpy_source`  the functions of NumPy that are Python, evaluated as they are
`writing`       the functions of NumPy that write into their argument
==============  ===================================================================================

The arrays of each library:

===============  ==================================================================================
`boxes`          autograd's arrays
`rules`          derivative rules that autograd lacks, or has wrong
`ducks`          arrays of another library: the common part
`torch_arrays`   PyTorch's
`jax_arrays`     JAX's
`stepped`        complex arrays that stand for real ones, for the complex step
`stepped_rules`  their functions that are decided by the real parts
===============  ==================================================================================

What NumPy's protocols do not cover:

==============  ===================================================================================
`tracing`       runs a loss on traced parameters, with NumPy adapted to them
`creation`      arrays that a loss creates
`buffers`       arrays that a loss fills with traced values
`indexing`      indices that are traced
`questions`     questions of a loss that traced arrays answer in another way
`conversions`   Python numbers that a loss makes from traced values
`rewriting`     changes expressions of the user's code in which a plain array comes first
`expressions`   which expressions these are, in the syntax tree of a file
`replacements`  the functions that `rewriting` puts there
`augmented`     ``z += w`` where z is plain and w is traced
`leaks`         traced values that a loss keeps
`read_only`     the arguments as a loss sees them
`places`        the line of the user's code, for messages
`refusals`      the operations that were refused
`collecting`    records of what a loss does, one list per thread
==============  ===================================================================================
"""

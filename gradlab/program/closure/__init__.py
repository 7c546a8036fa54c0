"""What a function reads, followed through everything that its code names.

A `Survey` starts at a function and follows by content what the function can reach: the variables,
attributes and defaults that its code names, the functions that it calls, the entries of containers.
The code of nested functions, lambdas and comprehensions counts as its own. What comes of it are

* *tokens*: two surveys have equal ones only if the function reads the same. Numbers and text are
  compared by value, code by its instructions, containers and objects by what is in them, and the
  rest by identity.
* *readers*: how to fetch all values again, so that a survey of unchanged things is known to hold
  after one comparison of identities.

A survey does not guess. A value with state that no attribute shows, such as a random generator, an
iterator or a file, raises an `UnkeyableError`; so does a function that asks the outside world, such
as `open` or `time.time`, and more than `LIMIT` values. Only libraries are taken for what they are:
of the modules in `TRUSTED`, functions are compared by identity, and their code is not followed.

==========  =======================================================================================
`survey`    where it starts; how values are followed: arrays, containers, objects
`code`      how functions, modules and classes are followed
`tokens`    what is written down
`values`    the values, fetched again and compared at each call
`names`     the names in a function's code
`rules`     what is taken for what it is, what is refused, what is followed
==========  =======================================================================================
"""

from __future__ import annotations

from gradlab.program.closure.survey import Survey, survey
from gradlab.program.closure.tokens import HIGHER, HigherDerivativeError, UnkeyableError

__all__ = ["HIGHER", "HigherDerivativeError", "Survey", "UnkeyableError", "survey"]

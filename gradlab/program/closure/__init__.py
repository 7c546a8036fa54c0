"""Everything that a function reads, found by following the names in its code.

A `Survey` starts at a function and follows the contents of all that the function can reach: the
variables, attributes and defaults that its code names, the functions that it calls, the entries of
containers. The code of nested functions, lambdas and comprehensions counts as its own. The results
are

* *tokens*: two surveys have equal tokens only if the function reads equal values. Numbers and text
  are compared by value, code by its instructions, containers and objects by their contents, and
  everything else by identity.
* *readers*: functions that fetch all values again. If the values are the same objects as before,
  the survey is still valid.

A survey does not guess. It raises an `UnkeyableError` for a value with state that no attribute
shows, such as a random generator, an iterator or a file; for a function that reads external state,
such as `open` or `time.time`; and for more than `LIMIT` values. Only libraries are trusted:
functions of the modules in `TRUSTED` are compared by identity, and their code is not followed.

==========  =======================================================================================
`survey`    the entry point; follows values: arrays, containers, objects
`code`      follows functions, modules and classes
`tokens`    the tokens of a survey, the values that are compared at each call, and the errors
`names`     the names in a function's code
`rules`     which values are trusted, refused, or followed
==========  =======================================================================================
"""

from __future__ import annotations

from gradlab.program.closure.survey import Survey as Survey
from gradlab.program.closure.survey import survey as survey
from gradlab.program.closure.tokens import NO_HIGHER_DERIVATIVES as NO_HIGHER_DERIVATIVES
from gradlab.program.closure.tokens import HigherDerivativeError as HigherDerivativeError
from gradlab.program.closure.tokens import UnkeyableError as UnkeyableError

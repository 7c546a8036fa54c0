"""Everything that a loss reads besides its arguments, and changes of it between two calls.

A scenario is a function that returns a loss, its arguments, and a function that changes something.
`registry` lists them: those whose change is followed, and those that cannot be followed.
"""

from surroundings import (  # noqa: F401
    arguments,
    containers,
    functions,
    names,
    not_followed,
    objects,
)

"""What a loss reads beside its arguments, and how that changes between two calls.

A scenario is a function that returns a loss, its arguments, and what changes something. `registry`
lists them: those whose change is followed, and those that cannot be followed.
"""

from surroundings import (  # noqa: F401
    arguments,
    containers,
    functions,
    names,
    not_followed,
    objects,
)

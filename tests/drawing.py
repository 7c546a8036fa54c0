"""The number of examples of a test in which each takes long; `.ci/run` repeats it with more."""

from hypothesis import settings


def times(factor: float) -> settings:
    """Return a multiple of the profile's number of examples: of 15, or of 60 in the repetition."""
    return settings(max_examples=round(factor * settings.default.max_examples))

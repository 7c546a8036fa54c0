"""All derivatives of functions with many outputs: see `corpus.outputs`."""

from corpus import layers, matrices, models, seconds, waves
from corpus.case import unique
from corpus.outputs import VectorCase as VectorCase

CASES: tuple[VectorCase, ...] = unique(
    [*layers.CASES, *matrices.CASES, *models.CASES, *seconds.CASES, *waves.CASES]
)

KINDS: tuple[str, ...] = tuple(dict.fromkeys(case.kind for case in CASES))

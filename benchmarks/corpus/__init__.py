"""Right and wrong gradients for tests of gradient checkers.

`CASES` has all of them. Each is a `Case`: a loss, parameters, a claimed gradient, and whether the
claim is right. A case belongs to a kind, which says why it is hard. Every true gradient is a closed
form that was derived by hand; ``tests/benchmarks/test_corpus.py`` verifies it by other means.

>>> case = CASES[0]
>>> case.title, case.right, bool(case.gradient(*case.point).shape == case.params.shape)
('smooth: quadratic form', True, True)
"""

from corpus import kinks, large, networks, rough, smooth
from corpus.case import Case as Case
from corpus.case import outcome as outcome
from corpus.case import relative_difference as relative_difference
from corpus.case import unique

CASES: tuple[Case, ...] = unique(
    [*smooth.CASES, *networks.CASES, *kinks.CASES, *rough.CASES, *large.CASES]
)

KINDS: tuple[str, ...] = tuple(dict.fromkeys(case.kind for case in CASES))

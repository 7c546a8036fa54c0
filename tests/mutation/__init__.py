"""Mutants of the numerical core: small faults that a test has to notice.

`operators` says what a fault is, `coverage` which test runs which line, `running` plants one fault
after the other in memory and runs the tests of its line, and `__main__` is the command. What is
known to survive stands in `accepted.toml`, each with its reason.
"""

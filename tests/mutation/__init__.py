"""Mutants of the numerical core: small faults that a test has to detect.

`operators` defines the faults, `coverage` finds the tests that run a line, `running` plants one
fault after the other in memory and runs the tests of its line, and `__main__` is the command.
`accepted.toml` lists the faults that may survive, each with its reason.
"""

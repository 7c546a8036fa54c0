"""The story of a training: what was right, what went wrong, and what to do about it.

`diagnose` trains once, measures around that training, and ends in a few sentences with remedies:
whether the gradient is right, whether another learning rate would serve better, what a step does
to the loss, which units are dead. The files, in reading order:

- `diagnosing.py`: `diagnose` itself, and its result, `Diagnosis`;
- `sweep.py`: short trainings with other learning rates;
- `section.py`: the loss along a step, for any length of it;
- `units.py`: what the units of hidden layers return;
- `findings.py`: the sentences.
"""

from gradlab.diagnosis.diagnosing import Diagnosis, diagnose
from gradlab.diagnosis.findings import Finding
from gradlab.diagnosis.section import Section
from gradlab.diagnosis.sweep import Trained
from gradlab.diagnosis.units import Layer

__all__ = ["Diagnosis", "Finding", "Layer", "Section", "Trained", "diagnose"]

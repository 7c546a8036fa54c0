"""The examination of a training: what was right, what went wrong, and the remedies.

`diagnose` trains once, examines the training, and reports the results in a few sentences: whether
the gradient is right, whether another learning rate is better, how a step changes the loss, which
units are dead. The files, in reading order:

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

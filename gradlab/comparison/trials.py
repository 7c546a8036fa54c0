"""The results of trainings with several values and seeds, as numbers and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradlab import html
from gradlab.history import count
from gradlab.training import Fit


@dataclass(frozen=True)
class Trial:
    """One training: one of the compared values, and one seed.

    Attributes
    ----------
    value : str
        The name of the value.
    seed : int
        Its seed.
    fit : Fit
        The trained parameters and the history. If the training diverged: the last parameters with
        a finite loss, and the history until then.
    loss : float
        The loss of the trained parameters on the test data; infinite if the training diverged.
    accuracy : float or None
        Their accuracy, or None if not requested or if the training diverged.
    diverged : str or None
        The message of the error, if the training diverged.
    """

    value: str
    seed: int
    fit: Fit = field(repr=False)
    loss: float
    accuracy: float | None = None
    diverged: str | None = None


@dataclass(frozen=True, repr=False)
class Trials:
    """The trainings that `compare_trainings` ran.

    Means and spreads are those of the trainings that did not diverge. A spread is the standard
    deviation of the seeds' results, √(Σ (x − mean)² / (n − 1)); one seed has none. Neither
    overflows for large losses.

    Attributes
    ----------
    trials : tuple of Trial
        By seed, and for each seed in the order of the values. If Ctrl-C ended the comparison early,
        only the completed ones.
    over : str
        The name of the compared option, such as ``"optimizer"``.
    values : tuple of str
        Their names.
    judged_on : str
        The data on which the trained parameters are evaluated: ``"test"``, ``"training"``, or empty
        if the loss takes no data.
    interrupted : bool
        Whether Ctrl-C ended the comparison early.
    """

    trials: tuple[Trial, ...]
    over: str
    values: tuple[str, ...]
    judged_on: str = "test"
    interrupted: bool = False

    def of(self, value: str) -> list[Trial]:
        """Return the trials of a value, by seed."""
        return [trial for trial in self.trials if trial.value == value]

    def losses(self) -> dict[str, list[list[float]]]:
        """Return the losses of the steps by value and seed, as `plotting.loss_bands` takes them."""
        return {
            value: [trial.fit.history.losses for trial in found]
            for value in self.values
            if (found := self.of(value))
        }

    @property
    def best(self) -> str | None:
        """The value with the lowest mean loss; None if each has a training that diverged."""
        means = {
            value: _mean_of([trial.loss for trial in found])
            for value in self.values
            if (found := self.of(value)) and not any(trial.diverged for trial in found)
        }
        return min(means, key=lambda value: means[value], default=None)

    def headline(self) -> str:
        """Return the result in one line: the best value, and with how many seeds it is best."""
        if (best := self.best) is None:
            return (
                "With each value, a training diverged." if self.trials else "Nothing was trained."
            )
        loss = " ".join(filter(None, [self.judged_on, "loss"]))
        told = f"{best} has the lowest {loss}, {_mean([t.loss for t in self.of(best)])}"
        rounds: dict[int, list[Trial]] = {}
        for trial in self.trials:
            rounds.setdefault(trial.seed, []).append(trial)
        whole = [found for found in rounds.values() if len(found) == len(self.values)]
        lowest = sum(min(found, key=lambda trial: trial.loss).value == best for found in whole)
        if len(whole) < 2:
            return f"{told}."
        return f"{told}: the lowest with {lowest} of {count(len(whole), 'seed')}."

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the comparison as text: column names, and a row per value."""
        loss, accuracy = (
            " ".join(filter(None, [self.judged_on, what])) for what in ("loss", "accuracy")
        )
        with_accuracy = any(trial.accuracy is not None for trial in self.trials)
        rows = []
        for value in filter(self.of, self.values):
            found = self.of(value)
            kept = [trial for trial in found if not trial.diverged]
            shares = [100 * trial.accuracy for trial in kept if trial.accuracy is not None]
            lost = len(found) - len(kept)
            seconds = [trial.fit.history.seconds for trial in kept]
            rows.append(
                {
                    self.over: value,
                    loss: _mean([trial.loss for trial in kept]),
                    accuracy: _mean(shares, ".2f", "%") if with_accuracy else "",
                    "diverged": f"{lost} of {len(found)}" if lost else "",
                    "seconds": _mean(seconds, ".2g", spread=False),
                }
            )
        names = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
        return names or [self.over, loss], [[row[name] for name in names] for row in rows]

    def summary(self) -> dict[str, Any]:
        """Return the numbers of the comparison, ready for JSON."""
        return {
            "over": self.over,
            "judged_on": self.judged_on,
            "interrupted": self.interrupted,
            "best": self.best,
            "values": [_numbers(value, self.of(value)) for value in self.values],
        }

    def __repr__(self) -> str:
        return f"<Trials over {self.over}: {self._title()}>"

    def _title(self) -> str:
        seeds = len({trial.seed for trial in self.trials})
        interrupted = ", interrupted" * self.interrupted
        return f"{', '.join(self.values)}; {count(seeds, 'seed')}{interrupted}"

    def _repr_html_(self) -> str:
        """Return the comparison as HTML for notebooks."""
        return html.table(self._title(), *self.table())


def _numbers(value: str, trials: list[Trial]) -> dict[str, Any]:
    """Return the numbers of a value's trials, with means and spreads."""
    kept = [trial for trial in trials if not trial.diverged]
    shares = [trial.accuracy for trial in kept if trial.accuracy is not None]
    return {
        "value": value,
        "trainings": len(trials),
        "diverged": len(trials) - len(kept),
        **_moments("loss", [trial.loss for trial in kept]),
        **_moments("accuracy", shares),
        "runs": [
            {
                "seed": trial.seed,
                "loss": trial.loss,
                "accuracy": trial.accuracy,
                "diverged": trial.diverged,
                "iterations": len(trial.fit.history.losses),
                "seconds": trial.fit.history.seconds,
                "losses": trial.fit.history.losses,
            }
            for trial in trials
        ],
    }


def _mean_of(numbers: Sequence[float]) -> float:
    """Return the mean, whose sum may exceed the largest float."""
    from statistics import mean  # which imports modules for decimals and fractions

    return mean(numbers)


def _deviation_of(numbers: Sequence[float]) -> float:
    """Return the standard deviation of a sample, likewise."""
    from statistics import stdev

    return stdev(numbers)


def _moments(name: str, numbers: Sequence[float]) -> dict[str, float | None]:
    return {
        name: _mean_of(numbers) if numbers else None,
        f"{name}_spread": _deviation_of(numbers) if len(numbers) > 1 else None,
    }


def _mean(
    numbers: Sequence[float], digits: str = ".4g", unit: str = "", *, spread: bool = True
) -> str:
    """Format the mean of numbers, and their standard deviation if there are two or more.

    Examples
    --------
    >>> _mean([1.0, 1.5]), _mean([0.25]), _mean([])
    ('1.25 ± 0.35', '0.25', '–')
    """
    if not numbers:
        return "–"
    mean = f"{_mean_of(numbers):{digits}}{unit}"
    if not spread or len(numbers) < 2:
        return mean
    deviation = f"{_deviation_of(numbers):{'.2g' if digits == '.4g' else digits}}"
    return f"{mean} ± {deviation}{unit}"

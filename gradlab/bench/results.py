"""The result of one benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["done", "failed", "interrupted", "not run"]


@dataclass(frozen=True)
class ScriptResult:
    """The result of one benchmark, or why there is none."""

    name: str
    question: str
    state: State  # "done", "failed", "interrupted" or "not run"
    seconds: float = 0.0
    numbers: dict[str, Any] | None = None  # its numbers, if it is done
    figure: str | None = None  # as SVG
    why: str = ""  # if it failed, the last line of its error

    @property
    def headline(self) -> str:
        """The result in one line, or why there is none."""
        if self.numbers is not None:
            return str(self.numbers.get("headline", ""))
        return f"{self.state}: {self.why}" if self.why else self.state

    @property
    def missing(self) -> dict[str, str]:
        """The peers that were not installed, and how to install them."""
        return dict((self.numbers or {}).get("missing", {}))

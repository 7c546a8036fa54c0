r"""Make untrusted text safe for a terminal: file names, names of arrays, error messages.

A terminal executes escape sequences, which may recolour, overwrite or hide text; marks of writing
direction may reverse it. Here such characters are shown instead, as
``\x1b``. A `NeutralConsole` does so for everything that it prints, and never
interprets text as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, without tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    "\u2028\u2029"  # separators of lines
    "\ud800-\udfff]"  # bytes of a file name that are not text
)


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return a text in which characters that a terminal acts on are escaped.

    For `one_line`, these include line ends.

    Examples
    --------
    >>> print(visible("weights\x1b[31m.npz"))
    weights\x1b[31m.npz
    """
    shown = _CONTROL_CHARACTERS.sub(_escaped, text)
    return shown.replace("\n", "\\n") if one_line else shown


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte that is not text
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class NeutralConsole(Console):
    """A console that never interprets text as markup or control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich lays it out."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the escaped pieces of what is printed; all output passes through here."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROL_CHARACTERS.search(segment.text):
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

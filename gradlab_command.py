"""The ``gradlab`` script's entry point: it answers Ctrl-C while the package is still loading.

It lies outside of the package, because ``import gradlab.anything`` first imports the whole of it,
which takes about half a second.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Say that the command was interrupted, and end; there is nothing to put in order yet."""
    os.write(2, b"gradlab: interrupted\n")
    os._exit(128 + number)


def main() -> NoReturn:
    """Import the command, then run it."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # otherwise SIGINT is ignored, as under nohup
        signal.signal(signal.SIGINT, _leave)
    from gradlab.command.main import main as run

    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
    run()

"""Which process and which thread this code runs in."""

import os
import threading


class Owned:
    """What belongs to the process that made it; a forked child has a copy that is not its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def made_here(self) -> bool:
        """Whether this process made it, and not one that forked this process."""
        return self._pid == os.getpid()


def on_main_thread() -> bool:
    """Whether this is the main thread, the only one on which signals can be hooked."""
    return threading.current_thread() is threading.main_thread()

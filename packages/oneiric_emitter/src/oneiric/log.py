"""What the emitter has to say goes to the host's logging, where the host has one.

``logging`` is not imported here: it costs a bare process 15 ms, and where the host never imported it, nobody
has set up a handler that could show anything. Nothing is ever printed.
"""

import sys
from contextlib import suppress
from functools import partial


def _say(level: str, message: str, *arguments: object, with_exception: bool = False) -> None:
    logging = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "NullHandler"):
        return
    # The host's filters and handlers may raise, the more so on a thread that they do not expect.
    with suppress(Exception):
        logger = logging.getLogger("oneiric")
        if not logger.handlers:
            # Without a handler of its own a warning would go to standard error.
            logger.addHandler(logging.NullHandler())
        logger.log(getattr(logging, level), message, *arguments, exc_info=with_exception)


warning = partial(_say, "WARNING")
# With the exception that is being handled, if any.
debug = partial(_say, "DEBUG", with_exception=True)

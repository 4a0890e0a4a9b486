"""This user's server for a bridge: found, or brought back as it was; never against ``mcp stop``."""

from collections.abc import Mapping

from oneiric.paths import Paths
from oneiric.transport import Endpoint, ServerInfo
from session_buddy.errors import ServerFailed
from session_buddy.host import process
from session_buddy.host.stopping import STOPPED, forget_mark, stop_mark


class LocalServer:
    """This user's server, whoever started it.

    Args:
        paths: this user's folders.
        flags: options of ``mcp start`` for one that is started here; ``None`` is not named.
    """

    def __init__(self, paths: Paths, flags: Mapping[str, object]) -> None:
        self._paths = paths
        self._flags = {name: value for name, value in flags.items() if value is not None}
        # A client that begins to ask after a stop wants a server.
        self._stopped_before = stop_mark(paths)

    def endpoint(self) -> Endpoint:
        """Where it listens.

        Raises:
            ServerFailed: it hangs, was stopped meanwhile, or does not come up.
        """
        info = process.running(self._paths) or self._brought_up()
        process.require_answer(info)
        return info.endpoint

    def _brought_up(self) -> ServerInfo:
        mark = stop_mark(self._paths)
        if mark is not None and mark == self._stopped_before:
            forget_mark(self._paths)
            mark = None
        if mark is None:
            options = {**process.options_of_last(self._paths), **self._flags, "unless_stopped": True}
            try:
                return process.start_background(self._paths, options)[0]
            except ServerFailed:
                mark = stop_mark(self._paths)
                if mark is None:
                    raise
        info = process.wait_running(self._paths, process.START_SECONDS) if mark.restarting else None
        if info is None:
            raise ServerFailed(STOPPED)
        return info

"""The table of routes: everything that this server answers beside MCP, as it is documented."""

from typing import Any, Final

from session_buddy.server.page import browsers, now, patterns, session, sessions, sign_in, timeline
from session_buddy.server.page.assets import ASSETS
from session_buddy.server.web.backup import BACKUPS
from session_buddy.server.web.changes import CHANGES
from session_buddy.server.web.complete import COMPLETE
from session_buddy.server.web.delete import DELETIONS
from session_buddy.server.web.export import EXPORT
from session_buddy.server.web.health import HEALTH, METRICS
from session_buddy.server.web.links import LINKS
from session_buddy.server.web.openapi import openapi_route
from session_buddy.server.web.routes import Route
from session_buddy.server.web.sessions import END, ENDS, EVENTS, SESSION, SESSIONS
from session_buddy.server.web.statistics import STATISTICS, TIMELINE
from session_buddy.server.web.stream import STREAM

_FOR_PROGRAMS: Final[tuple[Route[Any], ...]] = (
    HEALTH,
    METRICS,
    SESSIONS,
    SESSION,
    EVENTS,
    STATISTICS,
    TIMELINE,
    COMPLETE,
    CHANGES,
    STREAM,
    EXPORT,
    END,
    ENDS,
    BACKUPS,
    DELETIONS,
    LINKS,
)
_FOR_PEOPLE: Final[tuple[Route[Any], ...]] = (
    now.NOW,
    timeline.TIMELINE,
    patterns.PATTERNS,
    sessions.SESSIONS,
    session.SESSION,
    session.SESSION_ENDS,
    sign_in.SIGN_IN,
    sign_in.SIGN_OUTS,
    browsers.BROWSERS,
    browsers.BROWSER_SIGN_OUTS,
    ASSETS,
)
ROUTES: Final = (*_FOR_PROGRAMS, openapi_route(_FOR_PROGRAMS), *_FOR_PEOPLE)

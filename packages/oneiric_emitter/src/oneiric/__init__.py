"""Report the sessions of an admin shell: never lost, never in the way."""

from oneiric.emitter import SessionEventEmitter
from oneiric.tracking import TrackedSession, install, track_session

__all__ = ["SessionEventEmitter", "TrackedSession", "install", "track_session"]
__version__ = "0.1.0"

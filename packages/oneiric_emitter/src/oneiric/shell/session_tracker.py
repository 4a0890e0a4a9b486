"""Where existing shells import the emitter from."""

from oneiric.emitter import SessionEventEmitter

__all__ = ["SessionEventEmitter"]

"""Which metrics there are, and how they are written; nothing else knows Prometheus' library.

It takes 0.1 s to import, which a server does at the first scrape and not before it answers.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from session_buddy.intake.tally import Spread

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
# A number, or the spread of many; or several of them, by the values of the family's labels.
One = float | Spread
Value = One | Mapping[Any, One]


class Family(NamedTuple):
    """A metric, as ``docs/metrics.md`` lists it; a histogram without ``_bucket``, ``_sum`` and ``_count``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    tells: str
    labels: Labels = ()


FAMILIES: Final = (
    Family("session_buddy_sessions_started_total", "counter", "Sessions whose start was stored."),
    Family(
        "session_buddy_sessions_ended_total",
        "counter",
        "Sessions that ended, by how that was first known.",
        ("status", "exit_reason"),
    ),
    Family("session_buddy_sessions_active", "gauge", "Sessions of the history that are active."),
    Family(
        "session_buddy_sessions_unreachable",
        "gauge",
        "Active sessions that missed two heartbeats, as this server hears them.",
    ),
    Family(
        "session_buddy_session_duration_seconds", "histogram", "How long the sessions that ended had lasted."
    ),
    Family(
        "session_buddy_event_delay_seconds",
        "histogram",
        "From when a start or an end happened, by its shell's clock, to when it was on disk.",
        ("event",),
    ),
    Family(
        "session_buddy_commit_duration_seconds", "histogram", "How long it took to write a group of events."
    ),
    Family("session_buddy_commit_events", "histogram", "How many events were written in one group."),
    Family(
        "session_buddy_write_failures_total",
        "counter",
        "Writes that the database did not take; a try to see whether it does is one.",
    ),
    Family(
        "session_buddy_events_refused_total",
        "counter",
        "Events that did not go into the history.",
        ("cause",),
    ),
    Family(
        "session_buddy_calls_total",
        "counter",
        "Calls of MCP tools and HTTP routes, by what became of them.",
        ("call", "outcome"),
    ),
    Family(
        "session_buddy_tokens_refused_total",
        "counter",
        "Requests that were refused for want of a valid token, by what they showed.",
        ("cause",),
    ),
    Family("session_buddy_http_connections", "gauge", "HTTP connections that are open.", ("listener",)),
    Family("session_buddy_database_readable", "gauge", "1 if the database answered just now, else 0."),
    Family("session_buddy_database_writable", "gauge", "1 if the latest write succeeded, else 0."),
    Family("session_buddy_database_size_bytes", "gauge", "What the database takes on disk."),
    Family(
        "session_buddy_outbox_journals", "gauge", "Journals in the outbox of this server's user.", ("state",)
    ),
    Family(
        "session_buddy_outbox_oldest_seconds",
        "gauge",
        "How long ago the longest waiting journal was last written; 0 if none waits.",
    ),
    Family("session_buddy_backups", "gauge", "Backups that there are."),
    Family(
        "session_buddy_last_backup_timestamp_seconds",
        "gauge",
        "When the last backup was made, as Unix time; 0 if there is none.",
    ),
    Family(
        "session_buddy_build_info",
        "gauge",
        "Always 1; the labels say what runs.",
        ("version", "python", "engine"),
    ),
    Family("session_start_total", "counter", "session_buddy_sessions_started_total by its former name."),
    Family(
        "session_end_total", "counter", "The sum of session_buddy_sessions_ended_total, by its former name."
    ),
    Family("active_sessions", "gauge", "session_buddy_sessions_active by its former name."),
    Family(
        "session_duration_seconds", "histogram", "session_buddy_session_duration_seconds by its former name."
    ),
)


def exposed(values: Mapping[str, Value], accept: str) -> tuple[bytes, str]:
    """All metrics by name, and those of this process from ``/proc``, as text; returns it and its media type.

    A metric without a value is left out. ``accept`` is the header of the request: OpenMetrics if it asks
    so.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    class Collected:
        @staticmethod
        def collect() -> "Iterator[Metric]":
            return (_metric(family, values[family.name]) for family in FAMILIES if family.name in values)

    registry = CollectorRegistry()
    registry.register(Collected())
    ProcessCollector(registry=registry)
    try:
        encode, kind = choose_encoder(accept)
    except TypeError:  # it compares a version that is no number with one
        encode, kind = choose_encoder("")
    return encode(registry), kind


def _metric(family: Family, value: Value) -> "Metric":
    from prometheus_client import metrics_core

    made: Any = {
        "counter": metrics_core.CounterMetricFamily,
        "gauge": metrics_core.GaugeMetricFamily,
        "histogram": metrics_core.HistogramMetricFamily,
    }[family.kind](family.name, family.tells, labels=family.labels)
    several: Mapping[Any, One] = value if isinstance(value, Mapping) else {(): value}
    for labels, one in sorted(several.items()):
        made.add_metric(labels, *(_buckets(one) if isinstance(one, Spread) else (one,)))
    metric: Metric = made
    return metric


def _buckets(spread: Spread) -> tuple[list[tuple[str, float]], float]:
    from prometheus_client.utils import floatToGoString

    names = [*map(floatToGoString, spread.bounds), "+Inf"]
    return list(zip(names, accumulate(spread.counts), strict=True)), spread.total

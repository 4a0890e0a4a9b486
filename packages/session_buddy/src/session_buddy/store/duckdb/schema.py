"""The tables, as numbered steps that only go forward; a step that shipped is never edited."""

from typing import Final

# Times are naive UTC: fetching a TIMESTAMPTZ needs pytz. No PRIMARY KEY or UNIQUE: an upsert on one costs
# three times an update without, and what recognises a duplicate lives in the session's row.
MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);
    CREATE TABLE events (
        event_id VARCHAR NOT NULL,
        session_id VARCHAR NOT NULL,
        event_type VARCHAR NOT NULL,
        timestamp TIMESTAMP NOT NULL,
        received_at TIMESTAMP NOT NULL,
        subject VARCHAR NOT NULL,
        by_admin BOOLEAN NOT NULL,
        body JSON NOT NULL
    );
    CREATE TABLE sessions (
        session_id VARCHAR NOT NULL,
        start_time TIMESTAMP NOT NULL,
        start_event_id VARCHAR,
        subject VARCHAR,
        component VARCHAR,
        session_type VARCHAR,
        shell_type VARCHAR,
        username VARCHAR,
        hostname VARCHAR,
        pid INTEGER,
        boot_id VARCHAR,
        pid_namespace VARCHAR,
        process_started_at BIGINT,
        python_version VARCHAR,
        platform VARCHAR,
        cwd VARCHAR,
        origin JSON,
        parent_session_id VARCHAR,
        reason VARCHAR,
        actor VARCHAR,
        metadata JSON,
        last_seen TIMESTAMP,
        commands BIGINT NOT NULL,
        errors BIGINT NOT NULL,
        last_activity TIMESTAMP,
        ends JSON NOT NULL,
        status VARCHAR,
        exit_reason VARCHAR,
        end_time TIMESTAMP
    );
    """,
    # A table that was altered cannot be updated in the same transaction, so it is made anew.
    """
    CREATE TABLE changed AS
        SELECT
            sessions.*,
            received.received_at,
            start_time AS listed_at,
            CAST(NULL AS DOUBLE) AS elapsed_seconds,
            CAST('0x' || right(session_id, 8) AS UINTEGER) AS digits
        FROM sessions LEFT JOIN (
            SELECT session_id, min(received_at) AS received_at FROM events
            WHERE event_type = 'session_start' GROUP BY session_id
        ) AS received USING (session_id)
        ORDER BY start_time;
    DROP TABLE sessions;
    ALTER TABLE changed RENAME TO sessions;
    """,
    # A newer emitter may have told an older server more than that understood.
    """
    CREATE TABLE changed AS
        SELECT
            sessions.*,
            TRY_CAST(body->>'$.user.uid' AS BIGINT) AS uid,
            body->>'$.person.name' AS person,
            body->>'$.person.evidence' AS person_evidence,
            body->'$.person.also' AS person_also,
            origin->>'$.sudo_user' AS sudo_user,
            body->>'$.agent' AS agent
        FROM sessions LEFT JOIN (
            SELECT session_id, any_value(body) AS body FROM events
            WHERE event_type = 'session_start' AND regexp_matches(body, '"(uid|person|agent)"')
            GROUP BY session_id
        ) AS told USING (session_id)
        ORDER BY start_time;
    DROP TABLE sessions;
    ALTER TABLE changed RENAME TO sessions;
    """,
    # What queries look at, as this version has it: written with every row when the last step is done.
    """
    CREATE TABLE changed AS
        SELECT
            sessions.*,
            CAST(NULL AS BIGINT) AS exit_code,
            CAST(NULL AS TIMESTAMP) AS listed_until,
            CAST(NULL AS DOUBLE) AS duration_seconds,
            CAST(NULL AS BIGINT) AS counted_commands,
            CAST(NULL AS BIGINT) AS counted_errors,
            CAST(NULL AS VARCHAR) AS search_text,
            CAST(NULL AS JSON) AS end_metadata
        FROM sessions ORDER BY start_time;
    DROP TABLE sessions;
    ALTER TABLE changed RENAME TO sessions;
    """,
    # The number of the transaction that stored it, which only grows: followers say how far they have seen.
    """
    ALTER TABLE events ADD COLUMN commit_id BIGINT;
    """,
    # What was deleted, so that it does not come back: of each deletion an entry, whose number stands in the
    # rows that are left of sessions. An entry took the number of a transaction, too.
    """
    CREATE TABLE tombstones (
        number BIGINT NOT NULL,
        kind VARCHAR NOT NULL,
        deleted_at TIMESTAMP NOT NULL,
        deleted_by VARCHAR NOT NULL,
        sessions BIGINT NOT NULL,
        oldest TIMESTAMP,
        newest TIMESTAMP,
        started_before TIMESTAMP,
        commit_id BIGINT
    );
    ALTER TABLE sessions ADD COLUMN tombstone BIGINT;
    """,
)

# The last step behind which every row has to be judged anew.
JUDGED_BEHIND: Final = 4

LATEST: Final = len(MIGRATIONS)

"""The tables on PostgreSQL, as numbered steps that only go forward; a step that shipped is never edited."""

from typing import Final

# JSON is text to us, so it comes back as it went in: `jsonb` refuses \u0000, which a newer emitter may send.
# What recognises a duplicate is the session's row, which is locked; several ends that differ may share an id.
# Collation "C": an index then serves beginnings, and ids are ordered as Python orders them.
MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
    CREATE TABLE events (
        session_id text COLLATE "C" NOT NULL,
        event_id text COLLATE "C" NOT NULL,
        event_type text NOT NULL,
        timestamp timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        subject text NOT NULL,
        by_admin boolean NOT NULL,
        body json NOT NULL
    );
    CREATE TABLE sessions (
        session_id text COLLATE "C" PRIMARY KEY,
        start_time timestamptz NOT NULL,
        listed_at timestamptz NOT NULL,
        received_at timestamptz,
        start_event_id text,
        subject text,
        component text,
        session_type text,
        shell_type text,
        username text,
        uid bigint,
        person text,
        person_evidence text,
        person_also json,
        sudo_user text,
        hostname text,
        pid bigint,
        boot_id text,
        pid_namespace text,
        process_started_at bigint,
        python_version text,
        platform text,
        cwd text,
        origin json,
        parent_session_id text,
        reason text,
        actor text,
        agent text,
        metadata json,
        last_seen timestamptz,
        elapsed_seconds double precision,
        commands bigint,
        errors bigint,
        last_activity timestamptz,
        ends json NOT NULL DEFAULT '[]',
        status text,
        exit_reason text,
        end_time timestamptz
    );
    CREATE INDEX events_session ON events (session_id);
    CREATE INDEX sessions_listed ON sessions (listed_at, session_id);
    CREATE INDEX sessions_digits ON sessions (right(session_id, 8));
    CREATE INDEX sessions_open ON sessions (status, listed_at) WHERE status IS DISTINCT FROM 'ended';
    CREATE INDEX sessions_username ON sessions (username, listed_at);
    CREATE INDEX sessions_hostname ON sessions (hostname, listed_at);
    CREATE INDEX sessions_component ON sessions (component, listed_at);
    """,
    # Whoever asks for a status asks by "=", from which PostgreSQL concludes "<>", but not IS DISTINCT FROM.
    """
    DROP INDEX sessions_open;
    CREATE INDEX sessions_not_ended ON sessions (status, listed_at, session_id) WHERE status <> 'ended';
    """,
    # What queries look at, as this version has it: written with every row when the last step is done.
    """
    ALTER TABLE sessions
        ADD COLUMN exit_code bigint,
        ADD COLUMN listed_until timestamptz,
        ADD COLUMN duration_seconds double precision,
        ADD COLUMN counted_commands bigint,
        ADD COLUMN counted_errors bigint,
        ADD COLUMN search_text text,
        ADD COLUMN end_metadata json;
    CREATE INDEX sessions_person ON sessions (person, listed_at) WHERE person <> username;
    CREATE INDEX sessions_sudo_user ON sessions (sudo_user, listed_at) WHERE sudo_user <> username;
    CREATE INDEX sessions_person_also ON sessions (listed_at) WHERE person_also IS NOT NULL;
    CREATE INDEX sessions_parent ON sessions (parent_session_id) WHERE parent_session_id IS NOT NULL;
    CREATE INDEX sessions_listed_until ON sessions (listed_until) WHERE listed_until IS NOT NULL;
    """,
    # Of a hundred names, the default, it takes any other for as common as they are, and walks the whole list.
    """
    ALTER TABLE sessions
        ALTER COLUMN username SET STATISTICS 500,
        ALTER COLUMN hostname SET STATISTICS 500,
        ALTER COLUMN component SET STATISTICS 500;
    CREATE INDEX sessions_duration ON sessions (duration_seconds) WHERE duration_seconds IS NOT NULL;
    """,
    # The number of the transaction that stored it: all those below the oldest that is still open are there,
    # and followers say up to where they have seen. What was stored before has none.
    """
    ALTER TABLE events ADD COLUMN commit_id bigint;
    ALTER TABLE events ALTER COLUMN commit_id SET DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint);
    CREATE INDEX events_commit ON events USING brin (commit_id) WITH (autosummarize = on);
    """,
    # What was deleted, so that it does not come back: of each deletion an entry, whose number stands in the
    # rows that are left of sessions.
    """
    CREATE TABLE tombstones (
        number bigint PRIMARY KEY,
        kind text NOT NULL,
        deleted_at timestamptz NOT NULL,
        deleted_by text NOT NULL,
        sessions bigint NOT NULL,
        oldest timestamptz,
        newest timestamptz,
        started_before timestamptz
    );
    ALTER TABLE sessions ADD COLUMN tombstone bigint;
    CREATE INDEX sessions_tombstone ON sessions (tombstone, session_id) WHERE tombstone IS NOT NULL;
    """,
)

# The last step behind which every row has to be judged anew.
JUDGED_BEHIND: Final = 3

LATEST: Final = len(MIGRATIONS)

"""How events come in: validated, queued, written; who is live; what waits in the outbox."""

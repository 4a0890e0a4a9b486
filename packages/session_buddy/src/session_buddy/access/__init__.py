"""Who may do what: callers and rights, tokens, the secret."""

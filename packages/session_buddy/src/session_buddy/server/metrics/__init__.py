"""What a server counts and measures, as Prometheus takes it."""

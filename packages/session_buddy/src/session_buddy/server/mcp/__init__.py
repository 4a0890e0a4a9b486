"""What agents and emitters call."""

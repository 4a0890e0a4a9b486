"""What is kept safe: backups, the way back to one, what was lost."""

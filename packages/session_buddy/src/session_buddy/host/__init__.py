"""This machine: its processes, folders, settings and the log."""

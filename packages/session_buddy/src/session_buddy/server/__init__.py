"""The server: the application behind both listeners, and the wiring of all of it."""

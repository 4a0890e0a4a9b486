"""``python -m session_buddy``."""

from session_buddy.cli import main

if __name__ == "__main__":
    main()

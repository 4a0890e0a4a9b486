"""``python -m mahavishnu``."""

from mahavishnu.cli import main

main()

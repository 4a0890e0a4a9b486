"""``python -m session_buddy.server``, as client configurations of the earlier system have it: stdio."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["mcp", "start", "--transport", "stdio"]
    # Not imported: the server knows no command line.
    runpy.run_module("session_buddy", run_name="__main__")

"""An empty FastMCP server with an open DuckDB, as a process: ``python -m benchmarks.empty FOLDER``.

Its doors are like ours: a Unix socket, at ``empty.sock`` in the folder, and a port of the loopback.
"""

import asyncio
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
from fastmcp import FastMCP

TOOL = "nothing"
SOCKET = "empty.sock"


def nothing() -> dict[str, Any]:
    """Do nothing."""
    return {}


def serve(folder: Path) -> None:
    """Answer until killed."""
    mcp: FastMCP[Any] = FastMCP("empty")
    mcp.tool(nothing, name=TOOL)
    app = mcp.http_app(path="/mcp", json_response=True, stateless_http=True)
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_config=None)
    with (
        closing(duckdb.connect(str(folder / "empty.duckdb"))),
        socket.socket(socket.AF_UNIX) as local,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        local.bind(str(folder / SOCKET))
        local.listen()
        asyncio.run(uvicorn.Server(config).serve(sockets=[local, tcp]))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

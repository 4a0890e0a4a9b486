"""How the command line asks: a server, else the file; the bridge for MCP over stdio."""

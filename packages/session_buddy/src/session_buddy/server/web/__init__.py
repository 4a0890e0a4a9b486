"""What the server shows beside its tools, over plain HTTP."""

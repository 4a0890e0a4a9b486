"""What a session is: events, the fold into rows, the query, the record. Pure: no I/O, no clock."""

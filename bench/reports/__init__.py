"""What came out, as a table, as JSON, and as a picture."""

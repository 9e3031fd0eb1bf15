"""The spool: messages on the disk that the store does not have yet."""

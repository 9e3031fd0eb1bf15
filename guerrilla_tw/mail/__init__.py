"""The message: addresses, headers, envelope. Nothing in here knows Twisted."""

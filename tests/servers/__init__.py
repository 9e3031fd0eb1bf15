"""Real servers, each started by a test for itself alone, in a directory of its own."""

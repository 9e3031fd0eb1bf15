"""What each part of a message's way costs, in one process and without a network."""

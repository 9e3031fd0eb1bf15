"""Redis: messages in Redis, for a while."""

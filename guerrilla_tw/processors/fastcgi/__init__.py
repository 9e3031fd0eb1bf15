"""FastCGI: messages handed to scripts."""

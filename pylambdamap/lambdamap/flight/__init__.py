"""One map in flight."""

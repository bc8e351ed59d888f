"""Ways to call: `map` and its relatives, coroutines, futures, the older names."""

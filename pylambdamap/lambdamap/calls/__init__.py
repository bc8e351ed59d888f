"""The interfaces: `map` and its relatives, coroutines, futures, the older names."""

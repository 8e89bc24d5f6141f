"""Low precision: observing values, choosing scales and layers, and the arithmetic that every integer device shares."""

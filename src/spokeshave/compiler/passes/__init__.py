"""Pure functions graph -> graph."""

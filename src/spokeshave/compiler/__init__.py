"""From an exported network to native code."""

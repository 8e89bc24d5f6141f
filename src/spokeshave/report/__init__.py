"""Tables and the self-contained page."""

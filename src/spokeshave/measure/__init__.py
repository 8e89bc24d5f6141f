"""Timing beside the peers, and accuracy."""

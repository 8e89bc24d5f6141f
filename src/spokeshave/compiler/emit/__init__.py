"""Graph to C: layouts, steps, one arena, source text."""

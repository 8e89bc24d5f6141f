"""How a network gets into its plan."""

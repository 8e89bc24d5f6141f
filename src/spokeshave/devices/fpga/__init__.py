"""Networks on FPGAs: one engine for matrix products, its cycles, its resources, and the search for its sizes."""

"""Sets of weights that devices can exploit."""

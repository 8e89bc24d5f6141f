"""spokeshave: fits a neural network to a device."""

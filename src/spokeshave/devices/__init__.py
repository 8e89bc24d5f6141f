"""What a network costs somewhere, and how it runs there."""

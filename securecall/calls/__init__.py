"""What a call is, whatever protocol carries it."""

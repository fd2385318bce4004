"""What people write to each other, whatever protocol carries it."""

"""What a pod asks for and what it holds, as values."""

"""What the day tries, one module per stage, each with the type of what it found."""

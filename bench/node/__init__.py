"""What the device plugin costs on a node, and how fast it answers: the shipped program over a simulated driver."""

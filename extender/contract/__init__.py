"""What the extender and the device plugin agree on: names, units and the JSON in annotations. Standard library only."""

"""What the extender and the device plugin agree on: names, units, the JSON in annotations, what a doctor says of them.

Standard library only.
"""

"""What the extender and the device plugin agree on: names, units, the JSON in annotations, the findings of doctors.

Standard library only.
"""

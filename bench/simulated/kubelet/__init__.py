"""A kubelet in miniature that runs the real device plugin."""

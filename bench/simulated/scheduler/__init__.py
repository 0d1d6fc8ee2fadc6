"""A kube-scheduler in miniature that calls the real extender."""

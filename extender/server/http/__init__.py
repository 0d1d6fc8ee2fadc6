"""Serves HTTP: kube-scheduler's four verbs, and Flask for everything else."""

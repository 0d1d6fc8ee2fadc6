"""The process that kube-scheduler calls: HTTP, the state behind its lock, binding, the record of decisions."""

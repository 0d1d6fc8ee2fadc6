"""The scheduler extender: answers kube-scheduler's filter, prioritize, preempt and bind calls by per-GPU memory."""

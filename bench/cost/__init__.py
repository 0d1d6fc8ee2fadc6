"""What a cluster's GPU pods cost as they are, on whole GPUs, and packed: for a dump, a live cluster or a trace."""

"""Reports this node's GPUs: the inventory annotation, Events and Prometheus series."""

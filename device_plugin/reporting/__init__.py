"""Reports this node's GPUs to the cluster: the inventory annotation and Events."""

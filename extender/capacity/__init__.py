"""Planning on a copy of the cluster: what fits, which nodes could be emptied, which sizes pack, what it costs. Pure."""

"""The objects that the simulated API server keeps and the rules of each kind, without HTTP."""

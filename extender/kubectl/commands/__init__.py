"""The commands of `kubectl gpupack`, a module each."""

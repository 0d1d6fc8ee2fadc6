"""Opens the sockets on which gpupack's programs are called."""

"""The node side: offers GPU memory to the kubelet, gives containers the GPUs that the extender chose, reports back."""

"""Which sizes of shares waste GPUs, and which slightly smaller ones would not."""

"""Talks to the kubelet: registration, allocation, podresources; and decides what to answer."""

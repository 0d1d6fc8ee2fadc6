"""Talks to the kubelet: registers, answers its calls, reads podresources and records what it allocated."""

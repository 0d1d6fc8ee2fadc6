"""Measures pods per second of the real kube-scheduler: without an extender, with stubs and with gpupack."""

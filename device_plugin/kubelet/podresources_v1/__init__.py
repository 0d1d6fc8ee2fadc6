"""The kubelet's podresources API: podresources.proto and its stubs, made by `v1beta1/generate.sh`."""

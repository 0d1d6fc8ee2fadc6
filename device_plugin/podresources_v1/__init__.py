"""The kubelet's podresources API: podresources.proto and its stubs, made by `device_plugin/v1beta1/generate.sh`."""

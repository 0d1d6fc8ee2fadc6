"""The kubelet's device plugin API: deviceplugin.proto and the stubs that `generate.sh` makes from it.

The stubs are committed so that neither images nor users need a compiler; stubs of grpcio-tools 1.71.2 load under
protobuf 5.29 and newer. `device_plugin/kubelet/v1beta1/generate.sh [FOLDER]` writes them, and those of
`device_plugin.kubelet.podresources_v1`, under FOLDER (the repository by default).
"""

#!/bin/sh
# Writes the gRPC stubs of both kubelet APIs under the folder given (the repository by default).
# PYTHON names the interpreter that has grpcio-tools 1.71.2.
set -eu
repository=$(cd "$(dirname "$0")/../../.." && pwd)
target=${1:-$repository}
cd "$repository"
exec "${PYTHON:-python3}" -m grpc_tools.protoc -I. --python_out="$target" --grpc_python_out="$target" \
    device_plugin/kubelet/v1beta1/deviceplugin.proto device_plugin/kubelet/podresources_v1/podresources.proto

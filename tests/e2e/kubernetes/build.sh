#!/bin/sh
# Builds real Kubernetes for the end-to-end tests, once, from the Go modules that go.mod pins:
# etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kubectl in one file,
# and for the kubelet containerd, its shim, ctr, runc and the little program that test pods run.
#
#   build.sh           build what is missing; the last line printed is the folder
#   build.sh --where   print the folder only, whether or not it is built
#
# The folder is outside the repository: $GPUPACK_KUBERNETES_CACHE, else $XDG_CACHE_HOME/gpupack/kubernetes,
# else ~/.cache/gpupack/kubernetes, and in it one folder per state of the sources.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${GPUPACK_KUBERNETES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpupack/kubernetes}
key=$(cd "$here" && cat go.mod go.sum main.go node/go.mod node/go.sum node/*/main.go build.sh | sha256sum | cut -c1-16)
folder=$cache/$key

if [ "${1:-}" = --where ]; then
    echo "$folder"
    exit 0
fi
if [ -d "$folder" ]; then
    echo "$folder"
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "building Kubernetes needs Go $(sed -n 's/^go //p' "$here/go.mod") or newer, and there is no 'go' in PATH." >&2
    echo "Install it, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager," >&2
    echo "kube-scheduler and kubectl." >&2
    exit 1
fi

mkdir -p "$cache"
if command -v flock >/dev/null && [ "${GPUPACK_KUBERNETES_LOCKED:-}" != yes ]; then
    # Of two builds at the same time the second waits, and then finds the work done.
    GPUPACK_KUBERNETES_LOCKED=yes exec flock "$cache/lock" "$here/build.sh"
fi

building=$(mktemp -d "$cache/building.XXXXXX")
trap 'rm -rf "$building"' EXIT INT TERM
cd "$here"

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=$(echo "$version" | cut -d. -f2)
stamp=""
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp="$stamp -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor"
    stamp="$stamp -X $package.gitTreeState=clean"
done

compile() { # compile OUTPUT LDFLAGS PACKAGE...
    output=$1 ldflags=$2
    shift 2
    go build -p "${GPUPACK_BUILD_JOBS:-2}" -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o "$output" "$@"
}

echo "building Kubernetes $version into $folder: 5 to 15 minutes on 2 cores, seconds when Go's cache is warm" >&2
export CGO_ENABLED=0
compile "$building/kubernetes" "$stamp" .
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet; do
    ln -s kubernetes "$building/$name"
done

echo "building containerd and runc, for the tests with a real kubelet" >&2
cd "$here/node"
containerd=github.com/containerd/containerd/v2/cmd
compile "$building/" "" "$containerd/containerd" "$containerd/containerd-shim-runc-v2" "$containerd/ctr"
compile "$building/" "" ./idle ./runc-without-seccomp
if command -v "${CC:-gcc}" >/dev/null; then
    CGO_ENABLED=1 compile "$building/runc" "" github.com/opencontainers/runc # its first stage is written in C
elif installed=$(command -v runc); then
    ln -s "$installed" "$building/runc"
else
    echo "no C compiler and no runc: the tests with a real kubelet will skip. Install gcc and a C library's" >&2
    echo "headers, or the package runc, remove $folder and build again." >&2
fi

mv -T "$building" "$folder"
chmod 755 "$folder"
trap - EXIT INT TERM
echo "$folder"

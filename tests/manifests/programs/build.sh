#!/bin/sh
# Builds Helm and promtool for the tests of manifests/, once, from the Go modules that go.mod pins, and fetches the
# definitions of the Prometheus Operator's kinds.
#
#   build.sh           build what is missing; the last line printed is the folder
#   build.sh --where   print the folder only, whether or not it is built
#
# The folder is outside the repository: $GPUPACK_PROGRAMS_CACHE, else $XDG_CACHE_HOME/gpupack/programs, else
# ~/.cache/gpupack/programs, and in it one folder per state of the sources.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${GPUPACK_PROGRAMS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpupack/programs}
key=$(cd "$here" && cat go.mod go.sum build.sh | sha256sum | cut -c1-16)
folder=$cache/$key

if [ "${1:-}" = --where ] || [ -d "$folder" ]; then
    echo "$folder"
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "building Helm and promtool needs Go $(sed -n 's/^go //p' "$here/go.mod") or newer, and there is no 'go' in PATH" >&2
    exit 1
fi

mkdir -p "$cache"
if command -v flock >/dev/null && [ "${GPUPACK_PROGRAMS_LOCKED:-}" != yes ]; then
    # Of two builds at the same time the second waits, and then finds the work done.
    GPUPACK_PROGRAMS_LOCKED=yes exec flock "$cache/lock" "$here/build.sh"
fi

building=$(mktemp -d "$cache/building.XXXXXX")
trap 'rm -rf "$building"' EXIT INT TERM
cd "$here"
echo "building Helm and promtool into $folder: minutes on 2 cores, seconds when Go's cache is warm" >&2
# Without service discovery promtool needs no cloud's client library.
CGO_ENABLED=0 go build -p "${GPUPACK_BUILD_JOBS:-2}" -trimpath -buildvcs=false -ldflags "-s -w" -tags remove_all_sd \
    -o "$building/" helm.sh/helm/v4/cmd/helm github.com/prometheus/prometheus/cmd/promtool
operator=$(go mod download -json github.com/prometheus-operator/prometheus-operator@v0.85.0 |
    sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
for kind in podmonitors prometheusrules; do
    install -m 644 "$operator/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" "$building/"
done
mv -T "$building" "$folder"
chmod 755 "$folder"
trap - EXIT INT TERM
echo "$folder"

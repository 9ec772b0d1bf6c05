#!/usr/bin/env bash
# Checks the code that is only built for CUDA on a machine without it:
# `ci/cuda-typecheck.sh [COMMAND…]` (default: clippy over engine and probe). A stand-in for nvcc
# writes empty files, which satisfies the build scripts: the result can be checked, but neither
# linked nor run. It shares the target folder of the other lints: 80 seconds of one core after them,
# 30 after a change to the engine, 150 from scratch.
set -euo pipefail
cd "$(dirname "$0")/.."

# Always at the same path: cargo reruns build scripts when it changes.
stand_in=$PWD/target/cuda-stand-in
mkdir -p "$stand_in/bin"
cat > "$stand_in/nvcc.new" <<'NVCC'
#!/bin/sh
# Understands only those arguments of nvcc that say which files to write.
kind=object
while [ $# -gt 0 ]; do
    case $1 in
        --version)
            echo 'nvcc: a stand-in'
            echo 'Cuda compilation tools, release 13.0, V13.0.88'
            exit ;;
        --ptx) kind=ptx ;;
        --lib) kind=archive ;;
        -o) shift; made=$1 ;;
        --output-directory) shift; folder=$1 ;;
        *.cu) source=$1 ;;
    esac
    shift
done
case $kind in
    ptx) : > "$folder/$(basename "$source" .cu).ptx" ;;
    archive) printf '!<arch>\n' > "$made" ;;
    object) [ -z "${made-}" ] || : > "$made" ;;
esac
NVCC
chmod +x "$stand_in/nvcc.new"
# An unchanged file keeps its time stamp, which cargo looks at.
cmp -s "$stand_in/nvcc.new" "$stand_in/bin/nvcc" || cp -p "$stand_in/nvcc.new" "$stand_in/bin/nvcc"
rm "$stand_in/nvcc.new"

# Stands in for the clone of CUTLASS; only nvcc reads its headers.
commit=7d49e6c7e2f8896c47f586706e67e1fb215529dc
cutlass=$stand_in/home/git/checkouts/cutlass-${commit:0:16}
if [ ! -d "$cutlass/include" ]; then
    mkdir -p "$cutlass/include"
    git -C "$cutlass" init --quiet
    echo "$commit" > "$cutlass/.git/HEAD"
fi

export PATH=$stand_in/bin:$PATH NVCC=$stand_in/bin/nvcc CUDAFORGE_HOME=$stand_in/home
export CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000
if [ $# -gt 0 ]; then
    exec "$@"
fi
exec cargo clippy --package windtunnel-engine --package windtunnel-probe \
    --features cuda,flash-attn --all-targets --locked -- -D warnings

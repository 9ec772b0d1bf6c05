#!/usr/bin/env bash
# Checks what is built for CUDA alone, on a machine that has none: `ci/cuda-typecheck.sh [COMMAND…]`,
# clippy over engine and probe if left out. In the place of nvcc stands a program that makes empty
# files, so that build scripts end; what it makes can be checked, and neither linked nor started.
# It shares the target folder of the other lints: 80 seconds of one core after them, 30 after a change of
# the engine, 150 where nothing was built before.
set -euo pipefail
cd "$(dirname "$0")/.."

# In one place for good: cargo runs build scripts again where this path changes.
stand_in=$PWD/target/cuda-stand-in
mkdir -p "$stand_in/bin"
cat > "$stand_in/nvcc.new" <<'NVCC'
#!/bin/sh
# Understands of nvcc's arguments what says which files are to be made.
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
# An unchanged file keeps its time, which cargo looks at.
cmp -s "$stand_in/nvcc.new" "$stand_in/bin/nvcc" || cp -p "$stand_in/nvcc.new" "$stand_in/bin/nvcc"
rm "$stand_in/nvcc.new"

# The checkout of CUTLASS that would be cloned otherwise; its headers are read by nvcc alone.
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

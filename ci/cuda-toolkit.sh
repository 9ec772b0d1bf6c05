#!/usr/bin/env bash
# Makes a machine without CUDA and without a GPU able to build with the feature `cuda`, from Python
# wheels: `ci/cuda-toolkit.sh DIR`, then `. DIR/env.sh` and `cargo build --release --package
# windtunnel-probe --features cuda`. It needs a C compiler and pip but no root, and downloads about
# 150 MB.
#
# The probe runs on a machine with a GPU and the libraries of CUDA 13. Without them it starts if
# LD_LIBRARY_PATH has `lib/stubs` and `lib` of DIR/wheels/nvidia/cu13, and says what is missing.
# CUDA stays at 13.0 because a driver loads no kernel built for a CUDA newer than its own.
set -euo pipefail
folder=${1:?usage: ci/cuda-toolkit.sh DIR}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
wheels=$folder/wheels
cuda=$wheels/nvidia/cu13

pip() {
    python3 -m pip "$@" --quiet --no-deps --no-cache-dir
}

# nvcc with its headers, and NVRTC for ci/cuda-kernels.py.
pip install --no-compile --only-binary=:all: --upgrade --target "$wheels" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cuda-nvrtc==13.0.88
ln -sfn lib "$cuda/lib64"
ln -sfn libcudart.so.13 "$cuda/lib/libcudart.so"

# Libraries to link against: every function that cudarc may call, doing nothing but return, as
# NVIDIA's own stubs do, the error that says so (34).
cargo fetch --locked --quiet
bindings=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-0.19.*/src)
mkdir -p "$cuda/lib/stubs"
while read -r library module version; do
    grep -ohE '^ +fn (cu|nvrtc|curand|cublas)[A-Za-z0-9_]+' "${bindings[-1]}/$module/sys/mod.rs" |
        sort -u | sed -E 's/^ +fn (.*)/int \1(void) { return 34; }/' |
        cc -shared -fPIC -w "-Wl,-soname,lib$library.so.$version" \
            -o "$cuda/lib/stubs/lib$library.so" -x c -
    ln -sfn "lib$library.so" "$cuda/lib/stubs/lib$library.so.$version"
done <<'LIBRARIES'
cuda driver 1
nvrtc nvrtc 13
curand curand 10
cublas cublas 13
cublasLt cublaslt 13
LIBRARIES

# The headers of CUTLASS, where the build of the flash kernels looks for its clone.
commit=7d49e6c7e2f8896c47f586706e67e1fb215529dc
cutlass=$folder/home/git/checkouts/cutlass-${commit:0:16}
if [ ! -d "$cutlass/include" ]; then
    pip download --dest "$folder/cutlass" nvidia-cutlass==3.5.0.0
    python3 - "$folder/cutlass" "$cutlass" <<'UNPACK'
import pathlib
import sys
import zipfile

wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
root = "cutlass_library/source/"
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        inner = name.removeprefix(root)
        if inner.startswith(("include/", "tools/util/include/")) and not name.endswith("/"):
            path = pathlib.Path(sys.argv[2], inner)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
UNPACK
    git -C "$cutlass" init --quiet
    echo "$commit" > "$cutlass/.git/HEAD"
    rm -r "$folder/cutlass"
fi

mkdir -p "$folder/flash"
cat > "$folder/env.sh" <<ENV
export CUDA_HOME=$cuda PATH=$cuda/bin:\$PATH
# For which GPUs: 80 (A100), 89 (L4, RTX 40), 90 (H100, H200).
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000
export CUDAFORGE_HOME=$folder/home CUDAFORGE_THREADS=\${CUDAFORGE_THREADS:-\$(nproc)}
# Keeps the flash kernels from build to build: they take one core more than two hours.
export CANDLE_FLASH_ATTN_BUILD_DIR=$folder/flash
# No model here uses these; leaving them out saves a third of the time.
export NVCC_APPEND_FLAGS="-DFLASHATTENTION_DISABLE_DROPOUT -DFLASHATTENTION_DISABLE_ALIBI"
ENV
echo "ready: . $folder/env.sh"

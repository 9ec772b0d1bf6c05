#!/usr/bin/env python3
"""Compiles the engine's own kernels for every generation of GPUs that there is, without a GPU.

    ci/cuda-toolkit.sh DIR
    ci/cuda-kernels.py DIR

It asks NVRTC, as the engine does, and fails with what that has to say. Without a DIR, or without NVRTC
in it, it says so and is content: most machines have none.
"""

import ctypes
import pathlib
import sys

SOURCE = pathlib.Path(__file__).parent.parent / "engine/src/cuda/kernels.cu"
KERNELS = ["store_sixteen", "store_two", "likeliest", "angles"]
GENERATIONS = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]


def library(folder):
    found = sorted(pathlib.Path(folder).rglob("libnvrtc.so.*"))
    if not found:
        return None
    # NVRTC opens these by name: what is open already is found wherever it lies.
    for builtins in found[0].parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(found[0]))


def compiled(nvrtc, source, generation):
    """The size of what NVRTC makes of `source`, and the kernels that are not in it."""
    program = ctypes.c_void_p()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None))
    option = (ctypes.c_char_p * 1)(f"--gpu-architecture={generation}".encode())
    result = nvrtc.nvrtcCompileProgram(program, 1, option)
    if result != 0:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        sys.exit(f"{SOURCE}, {generation}:\n{log.value.decode()}")
    sizes = {}
    for kind in ["CUBIN", "PTX"]:
        size = ctypes.c_size_t()
        check(getattr(nvrtc, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
        sizes[kind] = size.value
    text = ctypes.create_string_buffer(sizes["PTX"])
    check(nvrtc.nvrtcGetPTX(program, text))
    missing = [name for name in KERNELS if f".entry {name}(".encode() not in text.value]
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return sizes["CUBIN"], missing


def check(result):
    if result != 0:
        sys.exit(f"NVRTC fails with {result}")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    nvrtc = library(folder) if folder else None
    if nvrtc is None:
        print("skipped: kernels are not compiled, for want of NVRTC; ci/cuda-toolkit.sh DIR fetches it")
        return
    source = SOURCE.read_bytes()
    for generation in GENERATIONS:
        size, missing = compiled(nvrtc, source, generation)
        if missing:
            sys.exit(f"{SOURCE}, {generation}: no kernel {', '.join(missing)}")
        print(f"{generation}: {len(KERNELS)} kernels, {size} bytes")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compiles the engine's own CUDA kernels for every supported generation of GPUs, without a GPU.

    ci/cuda-toolkit.sh DIR
    ci/cuda-kernels.py DIR

It calls NVRTC, as the engine does, and fails with its log. Without a DIR, or without NVRTC in it, it says
so and succeeds: most machines have none.
"""

import ctypes
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent.parent / "engine/src/cuda"
# A source, its kernels, the oldest generation it supports, and the macros it is compiled with.
SOURCES = [
    ("kernels.cu", ["store_sixteen", "store_two", "likeliest", "angles"], 75, [{}]),
    (
        "paged_decode.cu",
        ["attend_parts", "join_parts"],
        80,
        [
            {"DIM": dim, "GROUP": group, "BLOCK": block, "HALF": half}
            for dim, group, block, half in [(64, 4, 32, 0), (128, 8, 32, 1), (256, 1, 64, 0), (8, 7, 96, 0)]
        ],
    ),
]
GENERATIONS = [75, 80, 86, 89, 90, 100, 120]


def library(folder):
    found = sorted(pathlib.Path(folder).rglob("libnvrtc.so.*"))
    if not found:
        return None
    # NVRTC opens these by name: once loaded, they are found wherever they are.
    for builtins in found[0].parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(found[0]))


def compiled(nvrtc, path, generation, defined, kernels):
    """The size of the cubin that NVRTC makes of `path`, and the kernels missing from it."""
    program = ctypes.c_void_p()
    name = path.name.encode()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), path.read_bytes(), name, 0, None, None))
    options = [f"--gpu-architecture=sm_{generation}"]
    options += [f"-D{name}={value}" for name, value in defined.items()]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    result = nvrtc.nvrtcCompileProgram(program, len(options), array)
    if result != 0:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        sys.exit(f"{path}, sm_{generation}, {defined}:\n{log.value.decode()}")
    sizes = {}
    for kind in ["CUBIN", "PTX"]:
        size = ctypes.c_size_t()
        check(getattr(nvrtc, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
        sizes[kind] = size.value
    text = ctypes.create_string_buffer(sizes["PTX"])
    check(nvrtc.nvrtcGetPTX(program, text))
    missing = [name for name in kernels if f".entry {name}(".encode() not in text.value]
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return sizes["CUBIN"], missing


def check(result):
    if result != 0:
        sys.exit(f"NVRTC fails with {result}")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    nvrtc = library(folder) if folder else None
    if nvrtc is None:
        print("skipped: CUDA kernels are not compiled: no NVRTC; `ci/cuda-toolkit.sh DIR` downloads it")
        return
    for name, kernels, oldest, combinations in SOURCES:
        for generation in (generation for generation in GENERATIONS if generation >= oldest):
            sizes = []
            for defined in combinations:
                size, missing = compiled(nvrtc, FOLDER / name, generation, defined, kernels)
                if missing:
                    sys.exit(f"{name}, sm_{generation}: no kernel {', '.join(missing)}")
                sizes.append(str(size))
            print(f"{name}, sm_{generation}: {len(kernels)} kernels, {', '.join(sizes)} bytes")


if __name__ == "__main__":
    main()

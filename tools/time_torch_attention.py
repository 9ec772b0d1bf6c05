#!/usr/bin/env python3
"""Times the flash attention of PyTorch on the shapes of `engine/benches/cuda_attention.rs`.

    python3 tools/time_torch_attention.py
    cargo bench --package windtunnel-engine --features flash-attn --bench cuda_attention

Both print the same rows, each the median of many launches on one GPU: compare the times of a row,
taken on one machine within the hour. PyTorch keeps the keys of each sequence contiguous, so its
times are what paging is compared with.

    pip install torch
"""

import statistics
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

# Query heads, key heads and their length: of qwen3-0.6b, llama-3.2-1b and mistral-7b.
HEADS = [(16, 8, 128), (32, 8, 64), (32, 8, 128)]
# Sequences, queries and keys of each.
STEPS = [(1, 1, 1024), (64, 1, 1024), (1, 1, 131072), (1, 2048, 2048), (1, 8192, 8192)]
LAUNCHES = 50
WARM_UP = 5


def microseconds(launch):
    """The median time of a launch on the GPU, by its own clock."""
    for _ in range(WARM_UP):
        launch()
    times = []
    for _ in range(LAUNCHES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        launch()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1000)
    return statistics.median(times)


def main():
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU: nothing is timed")
    print(f"# {torch.cuda.get_device_name()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    print(f"{'heads':>14} {'sequences':>10} {'queries':>8} {'keys':>8} {'µs':>10}")
    for heads, kv_heads, dim in HEADS:
        for sequences, queries, keys in STEPS:

            def tensor(count, length):
                shape = (sequences, count, length, dim)
                return torch.randn(shape, device="cuda", dtype=torch.bfloat16)

            q, k, v = tensor(heads, queries), tensor(kv_heads, keys), tensor(kv_heads, keys)

            def launch():
                # A single query sees all keys; a prompt is causal.
                with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                    scaled_dot_product_attention(
                        q, k, v, is_causal=queries > 1, enable_gqa=True
                    )

            with torch.inference_mode():
                time = microseconds(launch)
            shape = f"{heads}/{kv_heads}/{dim}"
            print(f"{shape:>14} {sequences:>10} {queries:>8} {keys:>8} {time:>10.1f}", flush=True)


if __name__ == "__main__":
    main()

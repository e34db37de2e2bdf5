#!/usr/bin/env python3
"""The Python peer: transformers + PEFT train SmolVLM-500M on the synthetic slide of `vlm-lora`'s example `step`.

    python benches/peer/peer.py --model DIR --dtype float32|bfloat16 --edge 2048|1024|512 --steps 3
        [--ckpt] [--batch N] [--answer N] [--threads N] [--device cpu|cuda] [--attention sdpa|eager] [--forward-only]

DIR is what `step --write DIR` wrote: weights, and in `adapter` the adapter both start from. Forward, backward, clipping and
AdamW of the loss over the answer; one JSON line with the seconds, losses and gradient norms of every step and the peak
resident memory (on a GPU the most that tensors held of it).
"""
import argparse
import json
import resource
import statistics
import time

start = time.perf_counter()
import numpy as np  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

SIDE = 512


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--edge", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--answer", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--ckpt", action="store_true")
    parser.add_argument("--forward-only", action="store_true")
    return parser.parse_args()


def pixels(count):
    """The bytes of the example's slide, normalised as SmolVLM's processor does."""
    index = np.arange(count * SIDE * SIDE * 3, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = index * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    data = (mixed >> np.uint64(56)).astype(np.uint8).reshape(count, SIDE, SIDE, 3)
    values = torch.from_numpy((data * (1 / 255)).astype(np.float32))
    return ((values - 0.5) / 0.5).permute(0, 3, 1, 2).contiguous()


def token_ids(rows, cols, answer):
    """Markers, image, 110 prompt tokens, the answer; and how many tokens stand before the answer."""
    ids = [1]
    for row in range(rows):
        for col in range(cols):
            ids += [49189, 49152 + row * 6 + col] + [49190] * 64
        ids.append(198)
    ids += [49189, 49152 + 40] + [49190] * 64 + [49189]
    ids += range(100, 210)
    return ids + list(range(500, 500 + answer)), len(ids)


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    model = transformers.Idefics3ForConditionalGeneration.from_pretrained(
        options.model, dtype=dtype, attn_implementation=options.attention
    ).to(options.device)
    parameters = sum(p.numel() for p in model.parameters())
    model = peft.PeftModel.from_pretrained(model, f"{options.model}/adapter", is_trainable=True)
    trained = [p for p in model.parameters() if p.requires_grad]
    if options.ckpt:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    model.train()
    load_s = time.perf_counter() - start

    rows, cols = -(-(options.edge * 9 // 16) // SIDE), max(1, options.edge // SIDE)
    if rows * cols == 1:
        rows = cols = 0
    tiles = rows * cols + 1
    images = pixels(tiles).to(dtype).unsqueeze(0).repeat(options.batch, 1, 1, 1, 1).to(options.device)
    ids, prompt = token_ids(rows, cols, options.answer)
    ids = torch.tensor([ids] * options.batch, device=options.device)
    labels = ids.clone()
    labels[:, :prompt] = -100
    batch = dict(input_ids=ids, pixel_values=images, attention_mask=torch.ones_like(ids))
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.01)
    synchronize = torch.cuda.synchronize if options.device == "cuda" else lambda: None

    times, losses, norms = [], [], []
    for _ in range(options.steps + 1):
        synchronize()
        began = time.perf_counter()
        if options.forward_only:
            with torch.no_grad():
                model(**batch)
        else:
            loss = model(**batch, labels=labels).loss
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            norms.append(norm.item())
        synchronize()
        times.append(time.perf_counter() - began)
        if len(times) == 1:
            to_first_step_s = time.perf_counter() - start
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
    print(json.dumps(dict(
        dtype=options.dtype, edge=options.edge, tiles=tiles, tokens=ids.numel(), batch=options.batch, ckpt=options.ckpt,
        params=parameters, trainable=sum(p.numel() for p in trained), forward_only=options.forward_only,
        threads=options.threads, attention=options.attention, capability=torch.backends.cpu.get_cpu_capability(),
        device=torch.cuda.get_device_name() if options.device == "cuda" else "cpu", cuda=torch.version.cuda,
        versions=versions, losses=losses, grad_norms=norms, load_s=load_s, to_first_step_s=to_first_step_s,
        first_s=times[0], step_s=statistics.median(times[1:]), times_s=times, peak_mib=round(peak),
    )))


if __name__ == "__main__":
    main()

"""Reads a pair of GGUF files with the gguf package and holds it against a checkpoint with the same weights in f32.

    python check_pair.py TEXT.gguf MMPROJ.gguf CHECKPOINT f16|q8_0

Names come from the package's own map of tensors, keys from its constants, values from its own dequantization. Needs: gguf (numpy
comes with it).
"""

import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

TYPES = gguf.GGMLQuantizationType


def checkpoint_tensors(folder):
    """Names and f32 values of model.safetensors, whose tensors are all f32."""
    data = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        assert entry["dtype"] == "F32", f"{name} is {entry['dtype']}"
        start, end = (8 + size + at for at in entry["data_offsets"])
        yield name, np.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])


def reordered(rows, heads):
    """The rows of a query or key projection as ggml's rotary embedding of neighbours takes them."""
    half = rows.shape[0] // heads // 2
    return np.concatenate([rows[h * 2 * half :][: 2 * half].reshape(2, half, -1).transpose(1, 0, 2).reshape(2 * half, -1) for h in range(heads)])


def value(reader, key):
    assert key in reader.fields, f"{key} is missing"
    return reader.fields[key].contents()


def expected_type(name, shape, kind):
    if len(shape) == 1 or "_embd." in name and name.startswith("v."):
        return TYPES.F32
    return TYPES.Q8_0 if kind == "q8_0" and shape[-1] % 32 == 0 else TYPES.F16


def check_tensors(reader, tensors, names, config, kind):
    seen = {tensor.name: tensor for tensor in reader.tensors}
    largest = 0.0
    for source, values in tensors:
        name = names.get_name(source.replace("text_model.", ""), try_suffixes=(".weight", ".bias"))
        tensor = seen.pop(name)
        assert tensor.tensor_type == expected_type(name, values.shape, kind), f"{name}: {tensor.tensor_type!r}"
        assert list(reversed(tensor.shape.tolist())) == list(values.shape), f"{name}: {tensor.shape}"
        if source.endswith("self_attn.q_proj.weight") and "text_model" in source:
            values = reordered(values, config["num_attention_heads"])
        if source.endswith("self_attn.k_proj.weight") and "text_model" in source:
            values = reordered(values, config["num_key_value_heads"])
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(values.shape)
        if tensor.tensor_type == TYPES.F32:
            bound = np.zeros_like(values)
        elif tensor.tensor_type == TYPES.F16:
            bound = np.abs(values) * 2.0**-11 + 2.0**-25
        else:
            # Half a step of the block, whose scale is itself rounded to f16.
            blocks = np.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True)
            bound = np.repeat(blocks * (0.5 / 127 + 2.0**-10), 32, axis=1).reshape(values.shape)
        off = np.abs(found - values)
        assert (off <= bound).all(), f"{name} is off by {off.max()}"
        largest = max(largest, float(off.max()))
    assert not seen, f"tensors that the checkpoint does not have: {sorted(seen)}"
    return largest


def main():
    text, projector, folder, kind = sys.argv[1:]
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = list(checkpoint_tensors(folder))
    is_vision = lambda name: "vision_model" in name or "connector" in name
    own, vision = config["text_config"], config["vision_config"]
    reader, mmproj = gguf.GGUFReader(text), gguf.GGUFReader(projector)
    llama = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, own["num_hidden_layers"])
    clip = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, vision["num_hidden_layers"])
    off = max(
        check_tensors(reader, [t for t in tensors if not is_vision(t[0])], llama, own, kind),
        check_tensors(mmproj, [t for t in tensors if is_vision(t[0])], clip, own, kind),
    )

    keys = gguf.Keys
    arch = lambda key: key.format(arch="llama")
    file_type = {"f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[kind]
    rope = own.get("rope_theta") or own["rope_parameters"]["rope_theta"]
    head = own.get("head_dim") or own["hidden_size"] // own["num_attention_heads"]
    for key, expected in {
        keys.General.ARCHITECTURE: "llama",
        keys.General.FILE_TYPE: int(file_type),
        keys.General.QUANTIZATION_VERSION: gguf.GGML_QUANT_VERSION,
        arch(keys.LLM.BLOCK_COUNT): own["num_hidden_layers"],
        arch(keys.LLM.CONTEXT_LENGTH): own["max_position_embeddings"],
        arch(keys.LLM.EMBEDDING_LENGTH): own["hidden_size"],
        arch(keys.LLM.FEED_FORWARD_LENGTH): own["intermediate_size"],
        arch(keys.LLM.VOCAB_SIZE): own["vocab_size"],
        arch(keys.Attention.HEAD_COUNT): own["num_attention_heads"],
        arch(keys.Attention.HEAD_COUNT_KV): own["num_key_value_heads"],
        arch(keys.Attention.KEY_LENGTH): head,
        arch(keys.Attention.VALUE_LENGTH): head,
        arch(keys.Attention.LAYERNORM_RMS_EPS): np.float32(own["rms_norm_eps"]),
        arch(keys.Rope.FREQ_BASE): rope,
        arch(keys.Rope.DIMENSION_COUNT): head,
        keys.Tokenizer.MODEL: "gpt2",
        keys.Tokenizer.PRE: "smollm",
        keys.Tokenizer.ADD_BOS: False,
    }.items():
        assert value(reader, key) == expected, f"{key}: {value(reader, key)}, not {expected}"
    side, patch = vision["image_size"], vision["patch_size"]
    for key, expected in {
        keys.General.ARCHITECTURE: "clip",
        keys.General.TYPE: "mmproj",
        keys.General.FILE_TYPE: int(file_type),
        keys.Clip.HAS_VISION_ENCODER: True,
        keys.Clip.PROJECTOR_TYPE: gguf.VisionProjectorType.IDEFICS3,
        keys.ClipVision.PROJECTION_DIM: own["hidden_size"],
        keys.ClipVision.IMAGE_SIZE: side,
        keys.ClipVision.PATCH_SIZE: patch,
        keys.ClipVision.EMBEDDING_LENGTH: vision["hidden_size"],
        keys.ClipVision.FEED_FORWARD_LENGTH: vision["intermediate_size"],
        keys.ClipVision.BLOCK_COUNT: vision["num_hidden_layers"],
        keys.ClipVision.IMAGE_MEAN: [0.5] * 3,
        keys.ClipVision.IMAGE_STD: [0.5] * 3,
        keys.ClipVision.USE_GELU: True,
        keys.ClipVision.Attention.HEAD_COUNT: vision["num_attention_heads"],
        keys.ClipVision.Attention.LAYERNORM_EPS: np.float32(vision.get("layer_norm_eps", 1e-6)),
        keys.ClipVision.Projector.SCALE_FACTOR: config["scale_factor"],
    }.items():
        assert value(mmproj, key) == expected, f"{key}: {value(mmproj, key)}, not {expected}"
    assert value(mmproj, keys.ClipVision.PREPROC_IMAGE_SIZE) > 0

    words = json.loads((folder / "tokenizer.json").read_text())
    tokens, kinds = value(reader, keys.Tokenizer.LIST), value(reader, keys.Tokenizer.TOKEN_TYPE)
    assert len(tokens) == len(kinds) == own["vocab_size"]
    known = dict(words["model"]["vocab"]) | {token["content"]: token["id"] for token in words["added_tokens"]}
    special = {token["id"] for token in words["added_tokens"] if token["special"]}
    for token, number in known.items():
        kind_of = gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL
        assert tokens[number] == token and kinds[number] == kind_of, f"{number}: {tokens[number]}"
    for number in set(range(len(tokens))) - set(known.values()):
        assert kinds[number] == gguf.TokenType.UNUSED and tokens[number] == f"[PAD{number}]"
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in words["model"]["merges"]]
    assert value(reader, keys.Tokenizer.MERGES) == merges
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for name, key in [("bos_token", keys.Tokenizer.BOS_ID), ("eos_token", keys.Tokenizer.EOS_ID),
                      ("unk_token", keys.Tokenizer.UNK_ID), ("pad_token", keys.Tokenizer.PAD_ID)]:
        if settings.get(name):
            assert value(reader, key) == known[settings[name]], name
    assert "<end_of_utterance>" in value(reader, keys.Tokenizer.CHAT_TEMPLATE)
    print(json.dumps({"tensors": len(reader.tensors) + len(mmproj.tensors), "largest_difference": off}))


main()

"""What transformers answers from a merged checkpoint: the probabilities of some tokens after a prompt with an image, as JSON.

    python check_merged.py CHECKPOINT IMAGE PROMPT ANSWER TOKEN...

ANSWER is what was answered before the token. Needs: torch, torchvision, transformers, pillow.
"""

import json
import sys

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder, image, prompt, answer, *choices = sys.argv[1:]
model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[kind], f"{kind}: {info[kind]}"
processor = AutoProcessor.from_pretrained(folder, backend="pil")
messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
text = processor.apply_chat_template(messages, add_generation_prompt=True)
# The first choice stands where the token is asked for, so that what comes before it is tokenized as it is in an answer.
batch = processor(text=f"{text} {answer}{choices[0]}", images=[Image.open(image)], return_tensors="pt")
ids = [processor.tokenizer.convert_tokens_to_ids(choice) for choice in choices]
assert batch["input_ids"][0, -1] == ids[0], batch["input_ids"][0, -4:]
with torch.no_grad():
    logits = model.eval()(**batch).logits[0, -2]
print(json.dumps(torch.softmax(logits[ids].double(), 0).tolist()))

"""A Hugging Face folder of a tiny model with random weights and a tokenizer that is trained on the spot."""

import json
from pathlib import Path

import numpy as np

LLAMA = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 48, "tie_word_embeddings": True,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
TEXT = ["the sea is deep and the sky is high", "one and two are three", "def f(x):\n    return x + 1\n"]


def make(folder: Path, **config) -> Path:
    """config: what of LLAMA is other, None: left out."""
    folder.mkdir(parents=True)
    table = {name: value for name, value in (LLAMA | config).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(table), encoding="utf-8")
    write_weights(folder / "model.safetensors")
    write_tokenizer(folder / "tokenizer.json")
    return folder


def write_tokenizer(path: Path, normalizer=None) -> None:
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(TEXT, trainer)
    made.save(str(path))


def write_weights(path: Path) -> None:
    from safetensors.numpy import save_file

    rng, width, mlp = np.random.default_rng(0), LLAMA["hidden_size"], LLAMA["intermediate_size"]
    layer = {
        "self_attn.q_proj": (width, width), "self_attn.k_proj": (16, width), "self_attn.v_proj": (16, width),
        "self_attn.o_proj": (width, width), "mlp.gate_proj": (mlp, width), "mlp.up_proj": (mlp, width),
        "mlp.down_proj": (width, mlp),
        "input_layernorm": (width,), "post_attention_layernorm": (width,),
    }  # fmt: skip
    shapes = {"model.embed_tokens.weight": (LLAMA["vocab_size"], width), "model.norm.weight": (width,)}
    shapes |= {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    tensors = {name: rng.normal(size=shape, scale=0.2).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {name: np.ones_like(value) for name, value in tensors.items() if value.ndim == 1}
    save_file(tensors, path)

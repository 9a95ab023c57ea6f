"""Our models of Hugging Face's folders: the logits that `transformers` gives for the same weights."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_backend  # noqa: E402

from autoresearch.task import registry  # noqa: E402

FOLDER = registry.find("finetune").folder
SHARED = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
LLAMA3 = {
    "rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
CASES = {
    "llama": {"model_type": "llama", **SHARED},
    "llama with biases, tied": {
        "model_type": "llama", **SHARED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
    },
    "llama 3's rotary embedding": {"model_type": "llama", **SHARED, "rope_parameters": LLAMA3},
    "a stretched rotary embedding": {"model_type": "llama", **SHARED, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "mistral": {"model_type": "mistral", **SHARED, "sliding_window": 64},
    "qwen2": {"model_type": "qwen2", **SHARED},
    "qwen3": {"model_type": "qwen3", **SHARED, "head_dim": 20},
    "gpt2": {"model_type": "gpt2", "vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64},
}  # fmt: skip
IDS = (np.arange(32) * 7 + np.arange(3)[:, None] * 5) % 97  # [B, T]
# The first four logits after the last token of the first row, by transformers 5.24.
GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "hugging_face.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def models():
    sys.modules["runtime"] = torch_backend.runtime()
    try:
        spec = importlib.util.spec_from_file_location("finetune_models", FOLDER / "torch" / "models.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules["runtime"]
    return module


@pytest.fixture
def hugging_face():
    return sys.modules[f"{registry.kind(registry.find('finetune')).__module__}.hugging_face"]


def folder_of(models, hugging_face, place, config):
    """(a folder as Hugging Face's with weights that are the same everywhere, the spec of our model)"""
    from safetensors.numpy import save_file

    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    spec = hugging_face.architecture(place, hugging_face.config(place), 32)
    prefix = hugging_face.PREFIXES[spec["kind"]]
    tensors = {}
    for name, value in models.build_model(SimpleNamespace(**spec)).state_dict().items():
        if name != "lm_head.weight" or not spec["tied"]:
            wave = np.sin(0.7 * np.arange(value.numel()) + len(name)).reshape(value.shape).astype(np.float32)
            tensors[name if name == "lm_head.weight" else prefix + name] = 0.1 * wave + (value.ndim == 1)
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    return spec


def our_logits(models, hugging_face, place, spec):
    found = hugging_face.weights(place, spec["kind"], spec["tied"])
    hugging_face.write_weights(found, place / "copied", lambda *_: None)
    model = torch_backend.runtime().load_weights(models.build_model(SimpleNamespace(**spec)), place / "copied")
    with torch.no_grad():
        return model(torch.from_numpy(IDS)).numpy()


@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_that_transformers_gave(models, hugging_face, tmp_path, name):
    spec = folder_of(models, hugging_face, tmp_path, CASES[name])
    assert our_logits(models, hugging_face, tmp_path, spec)[0, -1, :4] == pytest.approx(GOLDEN[name], abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_of_transformers(models, hugging_face, tmp_path, name):
    transformers = pytest.importorskip("transformers", reason="no dependency")
    spec = folder_of(models, hugging_face, tmp_path, CASES[name])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IDS)).logits.numpy()
    assert np.abs(our_logits(models, hugging_face, tmp_path, spec) - expected).max() < 1e-4

"""The agent openai: a model of your own (Ollama, llama.cpp, LM Studio, vLLM) or of a provider, by OpenAI's protocol."""

import contextlib

from autoresearch.agents.llm.llm import LLM
from autoresearch.agents.openai.service import Service
from autoresearch.errors import AutoresearchError


def make(
    model: str | None = None, base_url: str | None = None, max_cost_usd: float | None = None,
    max_tokens_per_experiment: int | None = None, context: int | None = None, seed: int = 0,
) -> LLM:  # fmt: skip
    """base_url: with the path, as in http://127.0.0.1:11434/v1; None: OPENAI_BASE_URL, or OpenAI itself. seed is not used."""
    service = Service(model, base_url)
    if not service.known:
        with contextlib.suppress(AutoresearchError):  # whoever does not answer now may do so when it is its turn
            service.list_models()
    return LLM("openai", service, max_cost_usd, max_tokens_per_experiment, context or service.known.get(service.model))

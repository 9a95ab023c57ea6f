"""The agent claude: Anthropic's models, or those of a server of your own that speaks its protocol (ANTHROPIC_BASE_URL)."""

from autoresearch.agents.claude.service import Service
from autoresearch.agents.llm.llm import LLM

DEFAULT_MODEL = "claude-opus-5-5"  # for long coding work, at 4 / 20 USD a million tokens; Fable costs twice that, Sonnet half


def make(
    model: str | None = None, max_cost_usd: float | None = None, max_tokens_per_experiment: int | None = None,
    context: int | None = None, seed: int = 0,
) -> LLM:  # fmt: skip
    """seed: every agent takes one; the service has none, so that a night with claude can't be repeated exactly."""
    return LLM("claude", Service(model or DEFAULT_MODEL), max_cost_usd, max_tokens_per_experiment, context)

"""What a run would be on a machine: memory, speed, start-up, scoring, experiments an hour, each with its error. Pure and quick.

    machine = Machine.of(facts, measured)
    prediction = predict(sizes, machine, train_seconds=300, eval_bytes=1_000_000)

Memory is in memory.py, the roofline in speed.py, what both are worth in docs/design/plan.md. Errors are relative (0.05 is 5 %)
and come from comparing with published and measured runs: benchmarks/plan_errors.py prints them. What needs an unknown fact is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import memory, model, speed
from autoresearch.hardware.planner.memory import Layout
from autoresearch.hardware.planner.model import Sizes

# What a device reaches of its data sheet. Fit on the published rows: benchmarks/plan_errors.py --fit.
MATMUL_OF_DATA_SHEET = 0.85
BANDWIDTH_OF_DATA_SHEET = 0.85

# A process that trains on the CPU: Python and PyTorch, and a heap that grows with holes, since malloc is told to keep what is freed
# (backends/cpu/runtime.py): for a byte that comes and goes it takes that many. Measured: docs/design/plan.md.
PROCESS_BYTES = 300 << 20
CPU_HEAP = 1.75

# Seconds from a process's start to its first step: (first time, from a filled cache, relative error), by whether it compiles. CPU:
# between what two machines took, 57.7 and 11.2 s with AMX, 48.5 and 7.3 s without (benchmarks/results/train_speed-cpu-*.json);
# eager is its imports and two steps. Accelerators: what published runs took beyond
# their budget (H100 25.9 s, V100S eager 11.8, M3 Air 10: benchmarks/reference/devices.csv), less some 5 s of untimed steps and
# scoring. Whether a cache was filled there is not known.
CPU_STARTUP = {True: (53.0, 9.0, 0.3), False: (4.0, 4.0, 0.5)}
ACCELERATOR_STARTUP = {True: (20.0, 20.0, 1.0), False: (7.0, 7.0, 1.0)}
SCORE_STARTUP_SECONDS = 3.0  # of the score worker, eager: Python, PyTorch, weights; the same files: 3.2 without compiling
LOG_SOFTMAX_SECONDS = 5.5e-9  # of one logit on one core, in the scorer: 45 us a position of 8192 (profiles/h100.toml)
CPU_SCORING_FORWARD = 2.0  # times its products' own time: it runs eagerly. Fit on the scorings of benchmarks/results/runs.jsonl
SCORED_LOGIT_BYTES = 30  # of worker's traffic for one logit: product, float32, soft cap (three operations), float16

# Relative errors as measured; `plan_errors.py` prints what they come from.
MEMORY_ERROR, OTHER_MEMORY_ERROR = 0.05, 0.25  # compiled on an accelerator; everything else
SCORING_MEMORY_ERROR = 0.25
SPEED_ERROR = 0.4  # the worst of the rows that nothing else explains, from a data sheet and from measured limits alike
SCORING_ERROR = 0.4

HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Limit:
    """A speed that nothing on the device exceeds: FLOP/s or bytes/s, whether it was measured, and where it is from."""

    value: float
    kind: str  # "measured" or "data sheet"
    reason: str


@dataclass(frozen=True)
class Machine:
    """What a prediction needs of a device. None is unknown."""

    matmul_flops: Limit | None  # best product in the dtype of the training
    bandwidth: Limit | None  # of the device's memory, read and written
    compiled: bool | None
    attention: str | None
    product_bytes: int | None
    memory_bytes: int | None
    cores: int | None  # of the computer, for the scorer
    on_cpu: bool  # trains on the computer's cores: nothing overlaps, and memory is the process's

    @classmethod
    def of(cls, facts: Facts, measured: Mapping[str, float] | None = None) -> "Machine":
        """measured: "matmul_flops", "bandwidth" (bytes/s), "cores"; each goes before the facts."""
        measured = measured or {}
        own = facts.matmul_tflops * 1e12 if facts.matmul_tflops else None
        return cls(
            matmul_flops=_limit(measured.get("matmul_flops"), own, facts.peak_flops, MATMUL_OF_DATA_SHEET),
            bandwidth=_limit(measured.get("bandwidth"), None, facts.peak_bandwidth, BANDWIDTH_OF_DATA_SHEET),
            compiled=facts.compile,
            attention=facts.attention,
            product_bytes=None if facts.dtype is None else 2 if facts.dtype in HALF else 4,
            memory_bytes=facts.memory_bytes,
            cores=int(measured["cores"]) if "cores" in measured else facts.cores,
            on_cpu=facts.processors,
        )

    @property
    def shares(self) -> speed.Shares:
        return speed.CPU if self.on_cpu else speed.ACCELERATOR

    @property
    def layout(self) -> Layout | None:
        if self.compiled is None or self.attention is None or self.product_bytes is None:
            return None
        # A norm is one kernel on accelerators; on a CPU, eager, it is float32 operations, which keep a float32 input.
        return Layout(
            product_bytes=self.product_bytes,
            compiled=self.compiled,
            attention=self.attention,
            norm_bytes=memory.FLOAT32 if self.on_cpu else None,
            workspace_bytes=0 if self.on_cpu else memory.CUBLAS_BYTES,
        )


@dataclass(frozen=True)
class Estimate:
    """A predicted value and its relative error."""

    value: float
    error: float


@dataclass(frozen=True)
class Prediction:
    """Of one run. None where a fact that it needs is unknown."""

    train_memory_bytes: Estimate | None  # of the device; on a CPU of the process
    scoring_memory_bytes: Estimate | None
    tokens_per_second: Estimate | None
    steps: Estimate | None  # in the budget
    tokens: Estimate | None
    startup_seconds: Estimate | None  # from a filled compile cache
    first_startup_seconds: Estimate | None  # from an empty one
    scoring_seconds: Estimate | None
    experiments_per_hour: Estimate | None  # of the search agent, one run an experiment


def predict(sizes: Sizes, machine: Machine, train_seconds: float, eval_bytes: int) -> Prediction:
    speed_ = tokens_per_second(sizes, machine)
    tokens = speed_ and Estimate(speed_.value * train_seconds, speed_.error)
    first, warm = _startup(machine)
    scoring = _scoring_seconds(sizes, machine, eval_bytes)
    return Prediction(
        train_memory_bytes=train_memory(sizes, machine),
        scoring_memory_bytes=_scoring_memory(sizes, machine),
        tokens_per_second=speed_,
        steps=tokens and Estimate(tokens.value / sizes.batch_tokens, tokens.error),
        tokens=tokens,
        startup_seconds=warm,
        first_startup_seconds=first,
        scoring_seconds=scoring,
        experiments_per_hour=_per_hour(train_seconds, warm, scoring),
    )


def train_memory(sizes: Sizes, machine: Machine) -> Estimate | None:
    if machine.layout is None:
        return None
    peak = memory.training_bytes(sizes, machine.layout)
    if not machine.on_cpu:
        is_checked = machine.compiled and machine.attention != "xla"
        return Estimate(peak, MEMORY_ERROR if is_checked else OTHER_MEMORY_ERROR)
    stays = sum(memory.held(sizes, machine.layout).values())
    return Estimate(PROCESS_BYTES + stays + CPU_HEAP * (peak - stays), OTHER_MEMORY_ERROR)


def tokens_per_second(sizes: Sizes, machine: Machine) -> Estimate | None:
    layout = machine.layout
    if layout is None or machine.matmul_flops is None or machine.bandwidth is None:
        return None
    work = speed.parts(sizes, layout.product_bytes, layout.compiled, layout.attention, machine.shares)
    launch = machine.shares.launch_seconds if layout.compiled else machine.shares.eager_launch_seconds
    launches = speed.kernels(sizes, layout.compiled) * launch
    bandwidth = machine.bandwidth.value * machine.shares.traffic
    seconds = speed.step_seconds(work, machine.matmul_flops.value, bandwidth, launches, not machine.on_cpu)
    return Estimate(sizes.batch_tokens / seconds, SPEED_ERROR)


def bytes_per_token(vocab_size: int) -> float:
    """Of text, roughly: what the profiles' eval_bytes count on, 2.86 at 2048, 3.33 at 4096, 4 at 8192."""
    growth: float = (vocab_size / 2048) ** 0.24
    return 2.86 * growth


def _scoring_memory(sizes: Sizes, machine: Machine) -> Estimate | None:
    if machine.product_bytes is None:
        return None
    process = PROCESS_BYTES if machine.on_cpu else 0
    return Estimate(process + memory.scoring_bytes(sizes, machine.product_bytes), SCORING_MEMORY_ERROR)


def _scoring_seconds(sizes: Sizes, machine: Machine, eval_bytes: int) -> Estimate | None:
    """The worker's forward pass and the scorer's log-softmax, which share the cores of a CPU and else run side by side."""
    if machine.cores is None or machine.matmul_flops is None or machine.bandwidth is None or machine.product_bytes is None:
        return None
    positions = eval_bytes / bytes_per_token(sizes.vocab_size)
    logits = positions * sizes.vocab_size
    forward = positions * model.flops_per_token(sizes) / 3 / (machine.matmul_flops.value * machine.shares.products)
    forward *= CPU_SCORING_FORWARD if machine.on_cpu else 1.0
    forward += logits * SCORED_LOGIT_BYTES / machine.bandwidth.value
    softmax = logits * LOG_SOFTMAX_SECONDS / machine.cores
    seconds = forward + softmax if machine.on_cpu else max(forward, softmax)
    return Estimate(SCORE_STARTUP_SECONDS + seconds, SCORING_ERROR)


def _startup(machine: Machine) -> tuple[Estimate | None, Estimate | None]:
    """(first, from a filled cache)."""
    if machine.compiled is None:
        return None, None
    first, warm, error = (CPU_STARTUP if machine.on_cpu else ACCELERATOR_STARTUP)[machine.compiled]
    return Estimate(first, error), Estimate(warm, error)


def _per_hour(train_seconds: float, startup: Estimate | None, scoring: Estimate | None) -> Estimate | None:
    if startup is None or scoring is None:
        return None
    total = train_seconds + startup.value + scoring.value
    unsure = startup.value * startup.error + scoring.value * scoring.error  # seconds; the budget is kept by a clock
    return Estimate(3600 / total, unsure / total)


def _limit(measured: float | None, own: float | None, data_sheet: float | None, share: float) -> Limit | None:
    if measured is not None:
        return Limit(measured, "measured", "measured here")
    if own is not None:
        return Limit(own, "measured", "the best of many short products, by the probe")
    if data_sheet is not None:
        return Limit(share * data_sheet, "data sheet", f"{share:.0%} of the data sheet's")
    return None

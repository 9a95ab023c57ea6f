"""Trains nothing: a stand-in for a real train.py, with the same constants, whose score comes from a simulated landscape.

It takes part in everything that a real run does: the clock, the batches, the checkpoint, the scoring process. Its model is a
table of the frequencies of the tokens that it is given, blurred so much that val_bpb is as far above the best one as the
landscape says (landscape.py), give or take the noise of the seed. For tests, and for trying the loop out in seconds.
"""

import time

import landscape
import runtime

from autoresearch import measure

# Model
DEPTH = 4  # layers [2..12]
ASPECT_RATIO = 64  # width per layer [32..128 log]
HEAD_DIM = 64  # [32, 64, 128]
MLP_RATIO = 4.0  # hidden width over width [2.0..8.0 log]
WINDOW_PATTERN = "L"  # L: all of the context, S: a part of it ["L", "SL", "SSL", "SSSL"]
ROPE_BASE = 10_000.0  # [1_000.0..1_000_000.0 log]
LOGIT_SOFTCAP = 15.0  # [5.0..60.0 log]
INIT_SCALE = 1.0  # [0.25..2.0 log]
X0_LAMBDA_INIT = 0.1  # [0.0..0.4]

# Optimizer
TOTAL_BATCH_SIZE = 2**14  # tokens a step [2**11..2**19 log]
DEVICE_BATCH_SIZE = 16  # rows in memory at a time [fixed]
EMBEDDING_LR = 0.6  # [0.05..4.0 log]
UNEMBEDDING_LR = 0.004  # [0.0005..0.05 log]
MATRIX_LR = 0.04  # [0.005..0.3 log]
SCALAR_LR = 0.5  # [0.05..4.0 log]
WEIGHT_DECAY = 0.2  # of the matrices [0.0..0.6]
EMBEDDING_WEIGHT_DECAY = 0.0  # [0.0..0.01]
MUON_MOMENTUM = 0.95  # [0.85..0.99]
ADAM_BETAS = (0.8, 0.95)  # without effect here

# Schedule, as fractions of the time
WARMUP_RATIO = 0.0  # [0.0..0.3]
WARMDOWN_RATIO = 0.5  # [0.1..1.0]
FINAL_LR_FRACTION = 0.0  # of the peak [0.0..0.2]

LANDSCAPE = 0  # which of the simulated landscapes [fixed]

# The table is made in the first step, whatever the machine's speed, of about all of the stdlib corpus: a part of it would
# add noise of its own (0.005 bpb with 2**16 tokens, 0.0002 with these).
COUNTED_BATCHES = 8  # [fixed]
COUNTED_ROWS = 2048  # of 1024 tokens, in each of those batches [fixed]
STEP_SECONDS = 0.002  # [fixed]


def build_model(spec: measure.Spec) -> runtime.Table:
    return runtime.Table(spec.vocab_size)


def main() -> None:
    constants = {name: value for name, value in globals().items() if name.isupper()}
    run = measure.start()
    model = build_model(run.spec)
    run.describe(depth=DEPTH, num_params=run.spec.vocab_size, notes={"model": "a table of frequencies, not trained"})
    excess_bpb = landscape.excess_bpb(constants) + landscape.noise_bpb(constants, run.seed)
    frequency = sharpness = None
    for step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        if step == 0:
            batches = (run.batch(COUNTED_ROWS, seq_len=1024)[1] for _ in range(COUNTED_BATCHES))
            frequency = runtime.frequencies(batches, run.spec.vocab_size)
            sharpness = runtime.sharpness_for(frequency, excess_bpb)
            runtime.set_table(model, frequency, sharpness)
        else:
            run.batch(DEVICE_BATCH_SIZE)
            time.sleep(STEP_SECONDS)
        run.report(loss=runtime.loss_nats(frequency, sharpness * run.progress))


if __name__ == "__main__":
    main()

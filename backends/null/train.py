"""Trains nothing: a stand-in for a real train.py, with the same constants, whose score comes from a simulated landscape.

It takes part in everything that a real run does: the clock, the batches, the checkpoint, the scoring process. Its model is a
table of the frequencies of the tokens that it is given, blurred so much that val_bpb is as far above the best one as the
landscape says (landscape.py), give or take the noise of the seed. For tests, and for trying the loop out in seconds.
"""

import time

import landscape
import runtime

from autoresearch import measure

# The constants of backends/torch/train.py but those of two parts of its model, with its annotations (a test compares them).

# Shape
DEPTH = 8  # layers [2..12]
ASPECT_RATIO = 64  # model width per layer; the width is rounded to whole heads [24..128]
HEAD_DIM = 128  # width of an attention head [32, 64, 128]
GQA_RATIO = 1  # query heads that share a key/value head [1, 2, 4]
MLP_RATIO = 4  # MLP width / model width [2..6]
WINDOW_PATTERN = "SSSL"  # windows of the layers, repeated; S short, L full; the last is always full ["L", "SL", "SSL", "SSSL"]
SHORT_WINDOW = 0.5  # tokens that a short window looks back, as a fraction of seq_len [0.0625, 0.125, 0.25, 0.5]
ROPE_BASE = 10_000.0  # longest wavelength of the rotary embedding, in tokens / 2 pi [1000..1000000 log]
SOFTCAP = 15.0  # logits are squashed into (-SOFTCAP, SOFTCAP) [8..30]
GATE_CHANNELS = 32  # channels of the stream that a value embedding's gates read [fixed]

# Batch
DEVICE_BATCH_SIZE = 32  # rows in a forward pass; bounded by memory [fixed]
TOTAL_BATCH_SIZE = 2**17  # tokens per optimizer step [1024..524288 log]

# Learning rates: of AdamW at width 768, scaled with 1 / sqrt(width); of Muon at any width
EMBEDDING_LR = 0.6  # token and value embeddings [0.05..2 log]
UNEMBEDDING_LR = 0.004  # lm_head [0.0005..0.03 log]
MATRIX_LR = 0.04  # matrices, by Muon [0.005..0.2 log]
SCALAR_LR = 0.5  # x0_lambdas; resid_lambdas have a hundredth of it [0.05..2 log]
ADAM_BETA1 = 0.8  # [0.6..0.95]
ADAM_BETA2 = 0.95  # [0.9..0.99]
MUON_MOMENTUM = 0.95  # after its warm-up [0.85..0.98]
MUON_BETA2 = 0.95  # of the variance reduction [0.9..0.99]
WEIGHT_DECAY = 0.2  # of matrices, where it does not fight the step [0..0.6]

# Schedules, over progress: the fraction of the time budget that is used
WARMUP_RATIO = 0.0  # learning rates rise from 0 [0..0.1]
WARMDOWN_RATIO = 0.5  # learning rates fall to FINAL_LR_FRAC at the end [0.2..1]
FINAL_LR_FRAC = 0.0  # of the full learning rate [0..0.2]
MOMENTUM_WARMUP_RATIO = 0.1  # Muon's momentum rises from 0.85 [0..0.5]

# Initial values
INIT_SCALE = 1.0  # of the matrices' standard deviation, which is 1 / sqrt(width) [0.3..1.5]
X0_INIT = 0.1  # share of the token embedding that every layer adds [0..0.3]

# Of this file
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

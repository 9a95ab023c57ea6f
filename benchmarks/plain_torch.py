"""The same model and the same updates as one would first write them, for benchmarks/train_speed.py --plain: a process of its own,
so that what our runtime sets for its process does not help it. On a CPU, eager, with autocast, an operation at a time.
"""

import os
import sys
import time
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from autoresearch import choices
from autoresearch.hardware.autotune.stopwatch_worker import stand_in
from autoresearch.measure import worker
from autoresearch.measure.channel import Channel
from autoresearch.measure.run import Spec


def serve(channel: Channel, job: dict) -> None:
    import torch_runtime  # beside the job's train.py

    runtime = sys.modules["runtime"] = SimpleNamespace(**vars(torch_runtime))
    runtime.device, runtime.loss_scale = torch.device("cpu"), 1.0
    runtime.dtype = getattr(torch, os.environ[choices.VARIABLES["dtype"]])  # that of the process beside which this one is timed
    runtime.compile = lambda function: function
    train = worker.import_train(job)
    spec = Spec(**job["spec"])
    ours = train.Trainer(train.build_model(spec), spec.seq_len)
    plain, batch = PlainTrainer(train, spec, ours.rows, ours.passes), stand_in(spec)
    plain.step(batch)
    channel.send({
        "type": "warm", "rows": ours.rows, "passes": ours.passes, "offers": [], "import_seconds": 0.0, "warm_up_seconds": 0.0,
        "flops_per_token": plain.model.flops_per_token(spec.seq_len),
    })  # fmt: skip
    while channel.receive() is not None:
        start = time.perf_counter()
        plain.step(batch)
        channel.send({"type": "timed", "seconds": time.perf_counter() - start})


class PlainTrainer:
    def __init__(self, train, spec: Spec, rows: int, passes: int):
        self.train, self.rows, self.passes = train, rows, passes
        self.model = train.build_model(spec)
        matrices = set(self.model.matrices())
        others = [parameter for parameter in self.model.parameters() if parameter not in matrices]
        self.adam = torch.optim.AdamW(others, lr=1e-3, foreach=False, fused=False)
        zeros = [
            (weight, torch.zeros_like(weight)[None], torch.zeros_like(weight.mean(train.reduced_dim(weight), keepdim=True))[None])
            for weight in matrices
        ]
        self.muon = [list(entry) for entry in zeros]

    def step(self, batch) -> None:
        for _ in range(self.passes):
            inputs, targets = (torch.from_numpy(part).long() for part in batch(self.rows))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.train.runtime.dtype == torch.bfloat16):
                logits = self.logits(inputs)
            logits = self.train.SOFTCAP * torch.tanh(logits.float() / self.train.SOFTCAP)
            (torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()) / self.passes).backward()
        with torch.no_grad():
            self.adam.step()
            numbers = [torch.tensor(number) for number in (0.95, 1e-3, 0.1)]
            for entry in self.muon:
                weight, momentum, variance = entry
                new, entry[1], entry[2] = self.train.muon_update(weight[None], weight.grad[None], momentum, variance, *numbers)
                weight.copy_(new[0])
        for parameter in self.model.parameters():
            parameter.grad = None

    def logits(self, ids):
        train, model = self.train, self.model
        norm, width = train.norm, train.HEAD_DIM
        cos, sin = model.cos, model.sin
        x = x0 = norm(F.embedding(ids, model.embedding))
        for layer, (attention, mlp) in enumerate(zip(model.attention, model.mlp, strict=True)):
            x = model.resid_lambdas[layer] * x + model.x0_lambdas[layer] * x0
            y = norm(x)
            weights = (attention.query, attention.key, attention.value)
            q, k, v = (F.linear(y, weight).unflatten(-1, (-1, width)) for weight in weights)
            if attention.gate is not None:
                gate = 2 * torch.sigmoid(F.linear(y[..., : train.GATE_CHANNELS], attention.gate))
                extra = F.embedding(ids, model.value_embeddings[str(layer)]).unflatten(-1, (-1, width))
                v = (v + gate.unsqueeze(-1) * extra).to(v.dtype)
            q, k = (norm(train.rotate(z, cos, sin)).to(v.dtype) for z in (q, k))
            q, k, v = (z.transpose(1, 2) for z in (q, k, v))
            window, seq_len = model.windows[layer], ids.size(1)
            distance = torch.arange(seq_len)[:, None] - torch.arange(seq_len)
            mask = None if window >= seq_len - 1 else (distance >= 0) & (distance <= window)
            is_grouped = q.size(1) != k.size(1)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=is_grouped)
            x = x + F.linear(y.transpose(1, 2).flatten(2), attention.out)
            x = x + F.linear(F.relu(F.linear(norm(x), mlp.up)).square(), mlp.down)
        return F.linear(norm(x), model.lm_head)


if __name__ == "__main__":
    worker.main({"serve": serve})

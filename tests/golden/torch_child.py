"""Follows the golden state with a torch backend, in a process of its own. Prints one JSON line: deviations, dtype, graphs.

`python torch_child.py JOB`; JOB is JSON with python_path and train_py of the backend, and compiled: false for eager. Eager, the
state is followed a second time with torch_runtime's attention and embedding, which GPUs use, in place of the device's own.
"""

import json
import sys
import types

import golden
import numpy as np

from autoresearch import constants
from autoresearch.measure import Spec

job = json.loads(sys.argv[1])
sys.path[:0] = job["python_path"]

import runtime  # noqa: E402
import torch  # noqa: E402
import torch_runtime  # noqa: E402


def main() -> None:
    if not job["compiled"]:
        runtime.compile = lambda function: function
    train = types.ModuleType("train")
    with open(job["train_py"], encoding="utf-8") as file:
        exec(constants.write(file.read(), golden.ABOUT["constants"]), train.__dict__)
    state = golden.load()
    found = {"own": golden.deviations(follow(train, state), state)}
    if not job["compiled"]:
        runtime.attention, runtime.embedding = torch_runtime.attention, torch_runtime.embedding
        found["generic"] = golden.deviations(follow(train, state), state)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"] if "torch._dynamo.utils" in sys.modules else 0
    print(json.dumps({"deviations": found, "dtype": str(runtime.dtype).removeprefix("torch."), "graphs": graphs}))


def follow(train, state) -> dict[str, np.ndarray]:
    """What the backend's train.py makes of the state's weights and tokens."""
    model = train.build_model(Spec(golden.ABOUT["vocab_size"], golden.ABOUT["seq_len"]))
    weights = {name: torch.from_numpy(weight) for name, weight in golden.part(state, "weights").items()}
    assert {name: value.shape for name, value in model.state_dict().items()} == {name: w.shape for name, w in weights.items()}
    model.load_state_dict(weights)
    trainer = train.Trainer(model, golden.ABOUT["seq_len"])
    assert trainer.rows < golden.ABOUT["rows"], "several passes a step"

    ids = state["ids"]
    with torch.inference_mode():
        logits = model(torch.from_numpy(ids[0, :, :-1]).long().to(runtime.device)).double().cpu()
    token_loss = torch.nn.functional.cross_entropy(logits.mT, torch.from_numpy(ids[0, :, 1:]).long(), reduction="none")

    get_batch = batches(ids[0])
    for _ in range(trainer.passes):
        inputs, targets = (torch.from_numpy(part).long().to(runtime.device) for part in get_batch(trainer.rows))
        (trainer.loss(inputs, targets) * runtime.loss_scale / trainer.passes).backward()
    found = {f"gradients/{name}": parameter.grad / runtime.loss_scale for name, parameter in model.named_parameters()}
    model.zero_grad()

    losses = [float(trainer.step(batches(tokens), step / len(ids))) for step, tokens in enumerate(ids)]
    found |= {f"after/{name}": weight for name, weight in model.state_dict().items()}
    found = {name: value.cpu().numpy() for name, value in found.items()}
    return found | {"logits": logits.numpy(), "token_loss": token_loss.numpy(), "losses": np.array(losses)}


def batches(tokens: np.ndarray):
    """get_batch(rows) over the rows of tokens [B, T + 1], from the first."""
    left = iter(tokens)

    def get_batch(rows: int):
        part = np.stack([next(left) for _ in range(rows)])
        return np.ascontiguousarray(part[:, :-1]), np.ascontiguousarray(part[:, 1:])

    return get_batch


if __name__ == "__main__":
    main()

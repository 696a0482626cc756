"""Muon for the matrices, AdamW for the rest, in fp32 (torch's own Muon works in bf16)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

ADAM_SHARE = 0.4  # AdamW's rate as a share of Muon's


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: a batch of matrices (N, R, C) with all singular values near one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Team:
    """Processes that train one model together, each on its own half of every batch.

    Two processes of one thread are faster than one of two: the model's operations are too small
    to be shared between threads, above all on a machine that does other work beside.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    def add(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over all members."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)


class Optimizer:
    """Both optimizers behind one rate; parameters without a gradient stay as they are.

    Args:
        named: parameters with their names.
        scales: share of the rate for parameters whose name starts with a key.
        team: whoever trains the same parameters; the members must have equal gradients.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        scales: dict[str, float],
        team: Team,
    ) -> None:
        self.team = team
        self.groups: dict[tuple[tuple[int, ...], float], list[nn.Parameter]] = {}
        rest: dict[float, list[nn.Parameter]] = {}
        for name, parameter in named:
            scale = next((s for start, s in scales.items() if name.startswith(start)), 1.0)
            if parameter.ndim == 2 and "embed" not in name and "lm_head" not in name:
                self.groups.setdefault((tuple(parameter.shape), scale), []).append(parameter)
            else:
                rest.setdefault(scale, []).append(parameter)
        self.adam = torch.optim.AdamW(
            [{"params": parameters, "scale": scale} for scale, parameters in rest.items()],
            lr=0.0, betas=(0.9, 0.98), weight_decay=0.0,
        )  # fmt: skip
        self.momentum: dict[tuple[tuple[int, ...], float], Tensor] = {}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step with the gradients there are, which are then dropped."""
        parts = []
        for index, (key, parameters) in enumerate(self.groups.items()):
            gradient = torch.stack(
                [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            )
            if index % self.team.count != self.team.rank:  # another member works this one out
                parts.append(torch.zeros_like(gradient))
                continue
            momentum = self.momentum.setdefault(key, torch.zeros_like(gradient))
            momentum.lerp_(gradient, 0.05)
            parts.append(orthogonal(gradient.lerp(momentum, 0.95)))
        flat = torch.cat([part.flatten() for part in parts])
        self.team.add(flat)
        updates = flat.split([part.numel() for part in parts])
        for ((shape, scale), parameters), update in zip(self.groups.items(), updates, strict=True):
            size = rate * scale * 0.2 * max(shape) ** 0.5
            changes = update.view(-1, *shape)
            for parameter, change in zip(parameters, changes, strict=True):
                parameter.mul_(1 - 0.02 * rate * scale).sub_(change, alpha=size)
                parameter.grad = None
        for group in self.adam.param_groups:
            group["lr"] = rate * group["scale"] * ADAM_SHARE
        self.adam.step()
        self.adam.zero_grad()

    def gradients(self) -> list[Tensor]:
        """The gradients of all parameters, made up of zeros where there are none."""
        parameters = [p for group in self.groups.values() for p in group]
        parameters += [p for group in self.adam.param_groups for p in group["params"]]
        found: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            found.append(parameter.grad)
        return found

    def state(self) -> dict[str, Any]:
        """What a later run needs to go on."""
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        scales = [group["scale"] for group in self.adam.param_groups]
        self.adam.load_state_dict(state["adam"])
        for group, scale in zip(self.adam.param_groups, scales, strict=True):
            group["scale"] = scale
        self.momentum = state["momentum"]

"""Networks of AnalogNAS as PyTorch modules (``pip install 'codesign[torch]'``)."""

from __future__ import annotations

try:
    import torch
    from torch import Tensor, nn
except ImportError:
    raise ImportError("networks of AnalogNAS need PyTorch: pip install 'codesign[torch]'") from None

from codesign.nas.spaces.analog_resnet import (
    Architecture,
    MainBlock,
    branch_convolutions,
    projected,
    stride,
)


class AnalogResNetModule(nn.Module):
    """The network of an architecture for images [input_channels, any, any]; weights are drawn from ``seed``."""

    def __init__(self, architecture: Architecture, *, input_channels: int = 3, classes: int = 10, seed: int = 0):
        super().__init__()
        channels, kernel = architecture.channels, architecture.kernel
        self.stem = nn.Sequential(
            nn.Conv2d(input_channels, channels, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels)
        )
        stages = []
        for index, block in enumerate(architecture.blocks):
            stage = []
            for repetition in range(block.depth):
                stage.append(_Residual(channels, block, index, repetition))
                channels *= block.widening if repetition == 0 else 1
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(channels, classes)
        self._draw(torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes, (n, classes)."""
        x = self.relu(self.blocks(self.stem(x)))
        scores: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return scores

    def _draw(self, generator: torch.Generator) -> None:
        """He's initialisation (2015); branches are added up, so each has its part of the variance."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, _Residual):
                for branch in module.branches:
                    last = list(branch.children())[-1]
                    assert isinstance(last, nn.BatchNorm2d)
                    nn.init.constant_(last.weight, len(module.branches) ** -0.5)


class _Residual(nn.Module):
    """A residual block: branches and shortcut, added."""

    def __init__(self, before: int, block: MainBlock, index: int, repetition: int):
        super().__init__()
        after = before * (block.widening if repetition == 0 else 1)
        self.relu = nn.ReLU()
        self.branches = nn.ModuleList(
            _branch(block.kind, before, after, stride(index, repetition)) for _ in range(block.branches)
        )
        self.shortcut = nn.Sequential()
        if projected(before, after, index, repetition):
            step = stride(index, repetition)
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, step, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        rectified = self.relu(x)
        result: Tensor = self.shortcut(x)
        for branch in self.branches:
            result = result + branch(rectified)
        return result


def _branch(kind: str, before: int, after: int, step: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c_in, c_out, kernel in branch_convolutions(kind, before, after):
        if layers:
            layers.append(nn.ReLU())
        moves = step if kernel == 3 else 1
        layers += [nn.Conv2d(c_in, c_out, kernel, moves, kernel // 2, bias=False), nn.BatchNorm2d(c_out)]
        step = 1 if kernel == 3 else step
    return nn.Sequential(*layers)

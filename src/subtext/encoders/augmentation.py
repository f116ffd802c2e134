"""Random changes to training input that keep its label; drawn from torch's global generator.

Whoever seeds that generator from (seed, step) can repeat a step exactly.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Natural, NotNegative, Share, checked
from subtext.encoders.tokens import Tokens


class FaceAugmentation(nn.Module):
    """Flip, shift, scale, rotate, relight and partly erase face crops, each crop on its own.

    Args:
        flip: probability of a mirror image.
        shift: largest shift, as a share of the crop's side.
        scale: largest change of size, as a share.
        rotation: largest rotation, degrees.
        contrast: largest change of contrast, as a share.
        brightness: largest change of brightness, as a share of the full range.
        erase: probability that a box (a tenth to a third of each side) is replaced by the crop's mean (random erasing,
            Zhong et al. 2017, arXiv 1708.04896).
    """

    @checked
    def __init__(
        self,
        *,
        flip: Share = 0.5,
        shift: NotNegative = 0.08,
        scale: NotNegative = 0.1,
        rotation: NotNegative = 10.0,
        contrast: NotNegative = 0.3,
        brightness: NotNegative = 0.15,
        erase: Share = 0.25,
    ) -> None:
        super().__init__()
        self.flip = flip
        self.shift = shift
        self.scale = scale
        self.rotation = rotation
        self.contrast = contrast
        self.brightness = brightness
        self.erase = erase

    def forward(self, crops: Tensor) -> Tensor:
        """`[n, channels, height, width]` in 0..1 -> the same shape; values may leave 0..1."""
        return self._erase(self._relight(self._move(crops)))

    def _move(self, crops: Tensor) -> Tensor:
        n = len(crops)

        def spread(limit: float) -> Tensor:
            return (2 * torch.rand(n, device=crops.device) - 1) * limit

        angle = spread(self.rotation) * (torch.pi / 180)
        size = 1 + spread(self.scale)
        mirror = 1 - 2 * (torch.rand(n, device=crops.device) < self.flip).float()
        cos, sin = angle.cos() * size, angle.sin() * size
        # Grid coordinates run from -1 to 1, so a shift by a share of the side is twice that share.
        rows = [cos * mirror, -sin, 2 * spread(self.shift), sin * mirror, cos, 2 * spread(self.shift)]
        matrix = torch.stack(rows, dim=1).view(n, 2, 3).to(crops.dtype)
        grid = functional.affine_grid(matrix, list(crops.shape), align_corners=False)
        return functional.grid_sample(crops, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _relight(self, crops: Tensor) -> Tensor:
        shape = (len(crops), 1, 1, 1)
        contrast = 1 + (2 * torch.rand(shape, device=crops.device) - 1) * self.contrast
        brightness = (2 * torch.rand(shape, device=crops.device) - 1) * self.brightness
        mean = crops.mean(dim=(1, 2, 3), keepdim=True)
        return (crops - mean) * contrast + mean + brightness

    def _erase(self, crops: Tensor) -> Tensor:
        n, _, height, width = crops.shape
        chosen = torch.rand(n, device=crops.device) < self.erase
        boxes = []
        for length in (height, width):
            extent = torch.empty(n, device=crops.device).uniform_(0.1, 0.33) * length
            start = torch.rand(n, device=crops.device) * (length - extent)
            position = torch.arange(length, device=crops.device)
            boxes.append((position >= start[:, None]) & (position < (start + extent)[:, None]))
        box = (boxes[0][:, :, None] & boxes[1][:, None, :] & chosen[:, None, None]).unsqueeze(1)
        return torch.where(box, crops.mean(dim=(1, 2, 3), keepdim=True), crops)


class FrameAugmentation(nn.Module):
    """Shift, stretch and mask standardised prosody frames, each utterance on its own.

    Args:
        offset: standard deviation of a constant added to each feature: another voice, microphone or level.
        gain: standard deviation of the log of a factor on each feature.
        noise: standard deviation of noise on each value.
        time_masks: number of stretches of time that are set to zero.
        time_share: longest such stretch, as a share of the utterance.
        feature_mask: probability that a feature is set to zero throughout.

    The masks follow SpecAugment (Park et al. 2019, arXiv 1904.08779).
    """

    @checked
    def __init__(
        self,
        *,
        offset: NotNegative = 0.3,
        gain: NotNegative = 0.1,
        noise: NotNegative = 0.1,
        time_masks: Natural = 2,
        time_share: Share = 0.15,
        feature_mask: Share = 0.1,
    ) -> None:
        super().__init__()
        self.offset = offset
        self.gain = gain
        self.noise = noise
        self.time_masks = time_masks
        self.time_share = time_share
        self.feature_mask = feature_mask

    def forward(self, frames: Tokens) -> Tokens:
        """`[batch, time, features]` -> the same shape."""
        values = frames.values
        batch, time, features = values.shape
        device = values.device
        values = values * torch.exp(torch.randn(batch, 1, features, device=device) * self.gain)
        values = values + torch.randn(batch, 1, features, device=device) * self.offset
        values = values + torch.randn_like(values) * self.noise
        values = values * (torch.rand(batch, 1, features, device=device) >= self.feature_mask)
        position = torch.arange(time, device=device)
        lengths = frames.mask.sum(dim=1, keepdim=True)
        for _ in range(self.time_masks):
            extent = torch.rand(batch, 1, device=device) * self.time_share * lengths
            start = torch.rand(batch, 1, device=device) * (lengths - extent)
            hidden = (position >= start) & (position < start + extent)
            values = values * ~hidden.unsqueeze(-1)
        return Tokens(values * frames.mask.unsqueeze(-1), frames.mask)

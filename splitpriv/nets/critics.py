"""Critics of images, for adversaries that learn what real ones look like."""

from __future__ import annotations

from torch import nn

from splitpriv.types import Count, Shape


def dgwgan(image: Shape, *, width: Count, widest: Count) -> nn.Module:
    """Images (N, C, H, W) -> scores (N,): DGWGAN32 of GMI and CEM, whose 64-128-256 channels are `width` 64 at 32x32.

    5x5 convolutions of stride 2 halve the image to at most 4x4, with instance norm after all but the first and leaky
    ReLU of slope 0.2; channels double up to `widest`. A convolution as large as what is left gives the score. Nothing
    in it mixes the images of a batch, as a gradient penalty per image needs.
    """
    layers: list[nn.Module] = []
    channels, (height, across), outputs = image[0], image[1:], width
    while max(height, across) > 4:
        layers.append(nn.Conv2d(channels, outputs, 5, 2, 2))
        layers += [nn.InstanceNorm2d(outputs, affine=True)] if len(layers) > 1 else []
        layers.append(nn.LeakyReLU(0.2))
        channels, outputs = outputs, min(2 * outputs, widest)
        height, across = -(-height // 2), -(-across // 2)
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, (height, across)), nn.Flatten(0))

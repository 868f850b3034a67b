"""Networks: backbones as named stages, the cut through them, and decoders that invert a release."""

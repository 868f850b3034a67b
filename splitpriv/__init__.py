"""splitpriv: run, attack and compare defences of split inference."""

from splitpriv._torchvision import allow_cpu_torch

__version__ = "0.1.0"

allow_cpu_torch()

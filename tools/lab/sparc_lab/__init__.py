"""A lab of real virtual machines; see README.md beside this package."""

from .agent import Result
from .build import KERNELS
from .errors import LabError
from .lab import Lab
from .machine import Settings
from .qemu import QemuMachine
from .virtualbox import CHECKPOINT_WAYS, VirtualBoxMachine

__all__ = [
    "CHECKPOINT_WAYS",
    "KERNELS",
    "Lab",
    "LabError",
    "QemuMachine",
    "Result",
    "Settings",
    "VirtualBoxMachine",
]

"""A recording of the project's own, for machines that may not be traced."""

from pathlib import Path

RECORDING = Path(__file__).parent / "recording.dat"

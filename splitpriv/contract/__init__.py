"""What every listed option must keep, ours and a plug-in's: for the automatic tests and `splitpriv plugin test`."""

from splitpriv.contract.run import Result, examine

__all__ = ["Result", "examine"]

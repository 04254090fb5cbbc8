"""The rehearsal: what events would do to Ditio now. The worker's own processing, on a Ditio that only reads and a ledger that forgets.

    message ──► Process ─► Reconciler ──► reads:  Snapshot ─► Ditio      sends: noted, and laid over what was read
                                     ╰──► ledger: Beside ─► what the worker's ledger knows      commits: in memory

Events build on each other: a later one finds the task as an earlier one would have left it.
"""

from worker.rehearsal.rehearsal import Rehearsal

__all__ = ["Rehearsal"]

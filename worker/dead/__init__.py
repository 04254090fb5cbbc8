"""The dead letters, for operators: looked at and taken out without disturbing the others.

opened(…)  ─► Desk            the lock is held until the block ends
desk.look(selection) ─► Look  everything is taken, what is meant is kept, everything is given back in its order
desk.remove(ids)              takes everything anew, acknowledges those, gives the rest back in its order
"""

from worker.dead.counting import indexed
from worker.dead.desk import LARGEST_LOOK, Desk, Look, Seen, opened, operator
from worker.dead.known import Knowledge

__all__ = ["LARGEST_LOOK", "Desk", "Knowledge", "Look", "Seen", "indexed", "opened", "operator"]

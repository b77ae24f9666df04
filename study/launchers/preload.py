"""The first thing that the forkserver does: hold the garbage collector still, which would look through every import.

`warm.py` sets it going again.
"""

import gc

gc.disable()

"""Make the golden files again: `PYTHONPATH=tests python -m golden`. Only where stored or published bytes are meant to change."""

import copy

from golden.driver import run
from golden.files import HALF, SIZES, log, write
from support.shard_store import ShardStore

kept: dict[str, ShardStore] = {}
run(log()[:HALF], 37, kept)
write({str(size): run(log(), size) for size in SIZES}, copy.deepcopy(kept), run(log()[HALF:], 37, kept))

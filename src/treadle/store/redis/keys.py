"""Every key that the store makes, in one list, and what becomes of each.

All keys of a namespace begin with `{treadle:NAME}`. The braces are Redis Cluster's hash tag: they
put the namespace into one slot, so that a script may touch all of it. A script is given that first
key alone and derives the others by the names below; `script_names` writes them out for it.
`test_redis_keys` compares this list with what a server holds.
"""

from __future__ import annotations

from typing import Final

FIXED: Final = {
    "jobs": ("zset", "every job by id; goes with the job"),
    "due": ("zset", "scheduled and retrying jobs by run_at; goes with the state"),
    "expiring": ("zset", "waiting jobs by expires_at; goes with the state"),
    "parked": ("zset", "jobs whose task no worker knew, by task; goes with the state"),
    "ended": ("zset", "ended jobs by keep_until: what prune reads; goes with the job"),
    "dead": ("zset", "dead letters by id; goes with the job"),
    "queues": ("hash", "each queue that ever held a job, and since when it is paused"),
    "counts": ("hash", "jobs by queue and state; one field a queue and state"),
    "workers": ("zset", "workers that are registered or hold jobs; goes with the last of both"),
    "gates": ("zset", "gates by name; pruned when nobody has used one for hours"),
    "touched": ("zset", "gates by the hour of their last change; goes with the gate"),
    "taken": ("zset", "gates that have places in use, by how many; goes with the last of them"),
    "wakes": ("zset", "gates by when to look for jobs to wake; goes with the last that waits"),
    "schedules": ("zset", "every schedule by its name; goes with the schedule"),
    "schedules_due": ("zset", "schedules by when to look at them; goes with the schedule"),
    "tenants": ("zset", "tenants whose weight was set, by name; goes when it is set to nothing"),
    "strides": ("hash", "what a job adds to its tenant's turn; goes as said above"),
    "names": ("zset", "the keys that are held, by name; goes with the key"),
    "fence": ("string", "the number of the last hold of any lock"),
    "ears_work": ("string", "somebody waits for work, and which worker would take any; expires"),
    "ears_ends": ("string", "somebody waits for ends; expires"),
}
"""Name, type and bound of the keys that a namespace has once."""

FAMILIES: Final = {
    "job": ("hash", "a job by id; pruned when its time is over"),
    "attempts": ("list", "a job's attempts before the last one; goes with the job"),
    "logs": ("list", "a job's log lines; goes with the job"),
    "ready": ("zset", "a queue's ready jobs, best first; goes with the last of them"),
    "gate": ("hash", "a gate by name; goes as said above"),
    "waiting": ("zset", "jobs parked at a gate, best first; goes with the last of them"),
    "holds": ("zset", "places held outside jobs, by their ends; goes with them, or expires"),
    "passed": ("zset", "starts of a rate outside jobs, by the ends of their leases; expires"),
    "asks": ("hash", "who waits at a gate outside jobs; goes with the last of them, or expires"),
    "newest": ("string", "the job that waits at a gate for others like it; goes with the gate"),
    "behind": ("zset", "a queue's parked jobs, for purge; goes with the last of them"),
    "turns": ("zset", "a tenant's jobs in one line, by turn; goes with the last of them"),
    "worker": ("hash", "a registered worker; goes when it leaves or is rescued"),
    "schedule": ("hash", "a schedule by name; goes when it is removed"),
    "key": ("hash", "a key that is held; goes with its job, or expires"),
    "request": ("string", "what a batch with keys was answered; expires"),
    "lock": ("hash", "a lock that is held; expires"),
    "held": ("set", "the claims of a worker, id and number; goes with the last of them"),
}
"""Name, type and bound of the keys that there is one of for each job, queue, worker or name."""


def base_key(namespace: str) -> str:
    """Give the key that all keys of a namespace begin with; it holds the schema's version."""
    return f"{{treadle:{namespace}}}"


def key(namespace: str, name: str, of: str = "") -> str:
    """Give a key by its name in this list; `of` is the job, queue, worker or name of a family's."""
    assert (name in FIXED) != bool(of), f"{name!r} is a fixed key or one of a family"
    return f"{base_key(namespace)}:{name}:{of}" if of else f"{base_key(namespace)}:{name}"


def script_names() -> str:
    """Write the lines of Lua with which each script begins: K, then each key by its name."""
    lines = ["local K = KEYS[1]"]
    lines += [f"local {name.upper()} = K .. ':{name}'" for name in FIXED]
    lines += [f"local {name.upper()}_ = K .. ':{name}:'" for name in FAMILIES]
    lines += [
        f"local function {name}_key(of) return {name.upper()}_ .. of end" for name in FAMILIES
    ]
    return "\n".join(lines)

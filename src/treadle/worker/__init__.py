"""The worker: runs the line.

Read `line` first: one worker's jobs from claim to settlement. `worker` starts, drives and
stops it, `crew` puts the parts together: `claims` (what it holds), `settler` (what it has to
write), `lease` (its beats), `services` (stage, rescue, prune), `executors` and `execute` (where
and how code runs), `kit`, `notes`, `journal`.
"""

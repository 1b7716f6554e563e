"""The enqueueing side below the public handles: what `app`, `task` and `job` are made of.

`link`: the open store of this process · `coalesce`: how enqueues share a write ·
`waiting`: how results are waited for · `background`: the loop behind sync calls ·
`plan`: the options of one call · `explain`: a job's story as text · `queues`, `dead`: the
control handles · `hooks`: callbacks of an application · `views`: the values calls return.
"""

"""The parts of the store contract, each about one thing that stores do, with what its verbs answer.

`keyed` is about keys and locks, `holding` about gates that are passed outside jobs, `scheduled`
about schedules, `tenanted` about fairness, `moving` about jobs that change their store. `Store` in
`store.contract` has all of them but the last, which it has as its `moving`.
"""

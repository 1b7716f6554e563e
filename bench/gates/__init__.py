"""What limits cost: `python -m bench.gates` measures it on each store and writes the data.

`drains` is the price of gates that do not bind, `parked` that of many jobs behind gates that are
shut; `run` reads the command line. The jobs are in `tasks`, the processes that work in `worker`.
"""

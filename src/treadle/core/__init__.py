"""The core: values and pure functions, no I/O, imported by every layer above.

`job` and `outcome` hold the nouns of the line, `decide` the one decision, `retry` and `lanes`
the arithmetic, `payload` arguments and results as bytes, `settings` the one configuration
record, `errors` and `signals` what is raised. To follow a job, read `job`, then `outcome`, then
`decide`.
"""

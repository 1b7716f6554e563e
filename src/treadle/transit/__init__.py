"""Jobs on their way into a store: out of an outbox (`relay`), or out of a store (`moving`)."""

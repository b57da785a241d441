"""Networks that teachers and students are built of, beyond what KerasHub has: one family a file."""

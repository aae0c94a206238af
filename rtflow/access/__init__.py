"""Who may do what: accounts, tokens, sessions, certificates, enrolment, and the log of who did what.

Everything that is kept stands in one folder, readable by its owner alone (`rtflow.access.store` says which)::

    accounts.json      users (argon2 hashes) and tokens (SHA-256)
    codes.json         one-time codes of enrolment that wait (SHA-256)
    sessions.json      sessions of those who are logged in (SHA-256)
    audit.jsonl        who did what, each line with the hash of the one before
    certificates/      the authority, and the certificate of the server

Nothing here speaks over the network: `rtflow.server` and the agents do.
"""

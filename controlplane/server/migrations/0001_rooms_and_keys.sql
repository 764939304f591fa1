-- Rooms outlive the processes; who is in them does not.
CREATE TABLE rooms (
    id TEXT PRIMARY KEY NOT NULL,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX rooms_by_age ON rooms (created_at, id);

-- Keys for server-to-server use, and for signing participants' tokens.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY NOT NULL,
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What the server chose once and keeps: ports.
CREATE TABLE choices (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

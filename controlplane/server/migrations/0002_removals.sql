-- Who was removed from which room, and until when tokens of that identity are void (seconds since 1970). Rows outlive the
-- room: one that is made later under the same id does not open to tokens of before.
CREATE TABLE removals (
    room_id TEXT NOT NULL,
    identity TEXT NOT NULL,
    void_until BIGINT NOT NULL,
    PRIMARY KEY (room_id, identity)
);
CREATE INDEX removals_by_age ON removals (void_until);

//! Removals: whose tokens of which room are void.
//!
//! A row goes when no token that it voids can be good any more: a token ends [`LIFETIME_MAX`] after it was issued at the
//! latest, so what was issued before a removal has ended [`REMOVAL_KEPT`] after it.

use std::time::Duration;

use sqlx::Row;

use super::{Store, StoreError};
use crate::auth::LIFETIME_MAX;

/// How long a removal is kept: the life of a token, and a day for clocks that are wrong.
pub const REMOVAL_KEPT: Duration = LIFETIME_MAX.saturating_add(Duration::from_secs(24 * 3600));
/// Removals of one room, whatever became of it; the oldest is forgotten, as in the room itself.
pub const REMOVALS_PER_ROOM_MAX: usize = sluice_controlplane_core::limits::REVOKED_MAX;
/// Removals of all rooms, about 100 MB; the oldest is forgotten.
pub const REMOVALS_MAX: usize = 1_000_000;

/// A removal as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRemoval {
    /// The id of the room.
    pub room_id: String,
    /// Who was removed.
    pub identity: String,
    /// Tokens that were issued up to this second since 1970 are void.
    pub void_until: i64,
}

impl Store {
    /// Remembers a removal, and forgets those that are too old or too many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_removal(&self, removal: &StoredRemoval) -> Result<(), StoreError> {
        self.insert_removal_within(removal, REMOVALS_MAX).await
    }

    async fn insert_removal_within(&self, removal: &StoredRemoval, removals_max: usize) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO removals (room_id, identity, void_until) VALUES ($1, $2, $3) \
            ON CONFLICT (room_id, identity) DO UPDATE SET void_until = excluded.void_until \
            WHERE excluded.void_until > removals.void_until";
        const FORGET_OLD: &str = "DELETE FROM removals WHERE void_until < $1";
        const FORGET_OF_ROOM: &str = "DELETE FROM removals WHERE room_id = $1 AND identity NOT IN \
            (SELECT identity FROM removals WHERE room_id = $1 ORDER BY void_until DESC, identity LIMIT $2)";
        const FORGET_OF_ALL: &str = "DELETE FROM removals WHERE void_until <= \
            (SELECT void_until FROM removals ORDER BY void_until DESC LIMIT 1 OFFSET $1)";
        let kept = i64::try_from(REMOVAL_KEPT.as_secs()).unwrap_or(i64::MAX);
        let per_room = i64::try_from(REMOVALS_PER_ROOM_MAX).unwrap_or(i64::MAX);
        let of_all = i64::try_from(removals_max).unwrap_or(i64::MAX);
        let StoredRemoval { room_id, identity, void_until } = removal;
        let mut transaction = self.pool.begin().await?;
        let insert = sqlx::query(INSERT).bind(room_id).bind(identity).bind(void_until);
        let _done = insert.execute(&mut *transaction).await?;
        let forget_old = sqlx::query(FORGET_OLD).bind(void_until.saturating_sub(kept));
        let _done = forget_old.execute(&mut *transaction).await?;
        let forget_of_room = sqlx::query(FORGET_OF_ROOM).bind(room_id).bind(per_room);
        let _done = forget_of_room.execute(&mut *transaction).await?;
        let _done = sqlx::query(FORGET_OF_ALL).bind(of_all).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the removals from rooms of an id, those of rooms that have ended among them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn removals_of(&self, room_id: &str) -> Result<Vec<StoredRemoval>, StoreError> {
        let query = sqlx::query("SELECT room_id, identity, void_until FROM removals WHERE room_id = $1");
        removals(&query.bind(room_id).fetch_all(&self.pool).await?)
    }

    /// Returns the removals from all rooms that there are, in the order of the rooms' ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn removals(&self) -> Result<Vec<StoredRemoval>, StoreError> {
        let query = sqlx::query(
            "SELECT room_id, identity, void_until FROM removals WHERE room_id IN (SELECT id FROM rooms) \
             ORDER BY room_id, identity",
        );
        removals(&query.fetch_all(&self.pool).await?)
    }
}

fn removals(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Vec<StoredRemoval>, StoreError> {
    let removal = |row: &sqlx::sqlite::SqliteRow| -> Result<StoredRemoval, sqlx::Error> {
        Ok(StoredRemoval {
            room_id: row.try_get("room_id")?,
            identity: row.try_get("identity")?,
            void_until: row.try_get("void_until")?,
        })
    };
    Ok(rows.iter().map(removal).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredRoom;

    fn removal(room_id: &str, identity: &str, void_until: i64) -> StoredRemoval {
        StoredRemoval { room_id: room_id.to_owned(), identity: identity.to_owned(), void_until }
    }

    async fn identities(store: &Store, room_id: &str) -> Vec<String> {
        let mut removals = store.removals_of(room_id).await.unwrap();
        removals.sort_by_key(|removal| removal.void_until);
        removals.into_iter().map(|removal| removal.identity).collect()
    }

    #[tokio::test]
    async fn removals_outlive_the_process_and_their_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let room = StoredRoom { id: "a".to_owned(), settings: "{}".to_owned(), created_at: 1 };
        store.insert_room(&room).await.unwrap();
        for void_until in [5, 9, 7] {
            store.insert_removal(&removal("a", "ann", void_until)).await.unwrap();
        }
        store.insert_removal(&removal("gone", "ann", 8)).await.unwrap();
        store.close().await;
        let store = Store::open(folder.path()).await.unwrap();
        assert_eq!(store.removals().await.unwrap(), [removal("a", "ann", 9)]);
        assert!(store.delete_room("a").await.unwrap());
        assert_eq!(store.removals().await.unwrap(), []);
        assert_eq!(store.removals_of("a").await.unwrap(), [removal("a", "ann", 9)]);
        assert_eq!(store.removals_of("gone").await.unwrap(), [removal("gone", "ann", 8)]);
    }

    #[tokio::test]
    async fn a_removal_is_forgotten_when_every_token_of_before_has_ended_and_not_earlier() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let kept = i64::try_from(REMOVAL_KEPT.as_secs()).unwrap();
        store.insert_removal(&removal("a", "ann", 1000)).await.unwrap();
        store.insert_removal(&removal("b", "ben", 1000 + kept)).await.unwrap();
        assert_eq!(identities(&store, "a").await, ["ann"]);
        store.insert_removal(&removal("b", "cat", 1001 + kept)).await.unwrap();
        assert!(identities(&store, "a").await.is_empty());
        assert_eq!(identities(&store, "b").await, ["ben", "cat"]);
    }

    #[tokio::test]
    async fn of_too_many_removals_the_oldest_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        store.insert_removal(&removal("other", "old", 1)).await.unwrap();
        for number in 0..=REMOVALS_PER_ROOM_MAX {
            let second = 1000 + i64::try_from(number).unwrap();
            store.insert_removal(&removal("a", &format!("u{number}"), second)).await.unwrap();
        }
        let left = identities(&store, "a").await;
        assert_eq!((left.len(), left.first().map(String::as_str)), (REMOVALS_PER_ROOM_MAX, Some("u1")));
        assert_eq!(identities(&store, "other").await, ["old"]);
        store.insert_removal_within(&removal("b", "new", 5000), 2).await.unwrap();
        assert_eq!((identities(&store, "b").await, identities(&store, "a").await.len()), (vec!["new".to_owned()], 1));
        assert!(identities(&store, "other").await.is_empty());
    }
}

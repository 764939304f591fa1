//! What outlives a restart of the machine: rooms, removals from them, API keys, and choices made at the first start.
//!
//! `SQLite` in WAL mode; the statements keep to what `PostgreSQL` takes too.

mod removals;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;

use crate::auth::ApiKey;

pub use removals::{REMOVAL_KEPT, REMOVALS_MAX, REMOVALS_PER_ROOM_MAX, StoredRemoval};

/// Connections to the database; `SQLite` has one writer at a time.
const CONNECTIONS_MAX: u32 = 4;
/// How long a writer waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The file or its directory.
    #[error("{0}: {1}")]
    File(std::path::PathBuf, std::io::Error),
}

impl StoreError {
    /// Tells whether something with this id is there already.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// A room as stored: the id, the settings as JSON, and when it was created, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// The id.
    pub id: String,
    /// The settings as JSON.
    pub settings: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database in `directory`, which is made when missing, with files that only their owner may read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = |error| StoreError::File(directory.to_owned(), error);
        std::fs::create_dir_all(directory).map_err(file)?;
        let path = directory.join("sluice.db");
        // The database holds secrets: the file is made for its owner before SQLite opens it.
        let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        drop(opened.map_err(|error| StoreError::File(path.clone(), error))?);
        let options = SqliteConnectOptions::from_str("sqlite://")?
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Tells whether the database answers.
    pub async fn is_ready(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.pool).await.is_ok()
    }

    /// Adds a room.
    ///
    /// # Errors
    /// [`StoreError::is_taken`] when the id is.
    pub async fn insert_room(&self, room: &StoredRoom) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT INTO rooms (id, settings, created_at) VALUES ($1, $2, $3)");
        let _done = query.bind(&room.id).bind(&room.settings).bind(room.created_at).execute(&self.pool).await?;
        Ok(())
    }

    /// Replaces a room's settings. Returns whether the room is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_room(&self, id: &str, settings: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE rooms SET settings = $2 WHERE id = $1");
        Ok(query.bind(id).bind(settings).execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Removes a room. Returns whether it was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_room(&self, id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM rooms WHERE id = $1");
        Ok(query.bind(id).execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Returns all rooms, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rooms(&self) -> Result<Vec<StoredRoom>, StoreError> {
        let rows = sqlx::query("SELECT id, settings, created_at FROM rooms ORDER BY created_at, id");
        let rows = rows.fetch_all(&self.pool).await?;
        let room = |row: &sqlx::sqlite::SqliteRow| -> Result<StoredRoom, sqlx::Error> {
            Ok(StoredRoom {
                id: row.try_get("id")?,
                settings: row.try_get("settings")?,
                created_at: row.try_get("created_at")?,
            })
        };
        Ok(rows.iter().map(room).collect::<Result<_, _>>()?)
    }

    /// Returns all API keys, oldest first; makes the first one, named `default`, when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn api_keys(&self, now_millis: i64) -> Result<Vec<ApiKey>, StoreError> {
        let keys = self.stored_api_keys().await?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        let key = ApiKey::generate("default");
        let query = sqlx::query("INSERT INTO api_keys (id, secret, created_at) VALUES ($1, $2, $3)");
        let _done = query.bind(key.id()).bind(key.reveal()).bind(now_millis).execute(&self.pool).await?;
        Ok(vec![key])
    }

    async fn stored_api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query("SELECT id, secret FROM api_keys ORDER BY created_at, id").fetch_all(&self.pool).await?;
        let key = |row: &sqlx::sqlite::SqliteRow| -> Result<Option<ApiKey>, sqlx::Error> {
            let id: &str = row.try_get("id")?;
            let key = ApiKey::new(id, row.try_get("secret")?);
            if key.is_none() {
                tracing::error!(id, "an API key in the database opens nothing: its id or secret is malformed");
            }
            Ok(key)
        };
        let keys = rows.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        Ok(keys.into_iter().flatten().collect())
    }

    /// Returns a choice made before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn choice(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row =
            sqlx::query("SELECT value FROM choices WHERE name = $1").bind(name).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get("value")).transpose()?)
    }

    /// Remembers a choice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn choose(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let query = "INSERT INTO choices (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
        let _done = sqlx::query(query).bind(name).bind(value).execute(&self.pool).await?;
        Ok(())
    }

    /// Writes everything back and closes the files.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn room(id: &str, created_at: i64) -> StoredRoom {
        StoredRoom { id: id.to_owned(), settings: "{}".to_owned(), created_at }
    }

    #[tokio::test]
    async fn rooms_keys_and_choices_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        store.insert_room(&room("b", 2)).await.unwrap();
        store.insert_room(&room("a", 1)).await.unwrap();
        let keys = store.api_keys(5).await.unwrap();
        store.choose("media_port", "5000").await.unwrap();
        store.choose("media_port", "5001").await.unwrap();
        store.close().await;
        let mode = std::fs::metadata(folder.path().join("sluice.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let store = Store::open(folder.path()).await.unwrap();
        assert_eq!(store.rooms().await.unwrap(), [room("a", 1), room("b", 2)]);
        assert_eq!(store.api_keys(6).await.unwrap(), keys);
        assert_eq!(store.choice("media_port").await.unwrap().as_deref(), Some("5001"));
        assert_eq!(store.choice("other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_taken_id_is_told_from_other_errors() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        store.insert_room(&room("a", 1)).await.unwrap();
        assert!(store.insert_room(&room("a", 2)).await.unwrap_err().is_taken());
        assert!(store.update_room("a", "{\"name\":\"x\"}").await.unwrap());
        assert!(!store.update_room("b", "{}").await.unwrap());
        assert!(store.delete_room("a").await.unwrap());
        assert!(!store.delete_room("a").await.unwrap());
        assert!(store.is_ready().await);
    }
}

//! Putting the control plane together, and taking it apart.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::addresses::Announced;
use crate::auth::{ApiKey, KeyRing};
use crate::conductor::signalled::Sessions;
use crate::config::Config;
use crate::dtls::Certificate;
use crate::events::Events;
use crate::log::LogFormat;
use crate::store::Store;
use crate::{conductor, dataplane, http};

/// How long the start waits for the data plane before it says where to go; it starts in a few milliseconds.
const READY_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the control plane until `shutdown` resolves; `tell` is called once with what its user wants to know.
///
/// # Errors
/// What keeps it from running.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>, tell: impl FnOnce(String)) -> anyhow::Result<()> {
    let directory = &config.storage.data_dir;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make the data directory {}", directory.display()))?;
    let store = Store::open(directory).await?;
    let keys = api_keys(&config, &store).await?;
    let listener = listen(&config, &store).await?;
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let events = Arc::new(Events::new(u64::try_from(epoch).unwrap_or(0)));
    let (supervisor, handle, dataplane_events) =
        dataplane::start(supervision(&config, &store).await?).context("the data plane cannot be supervised")?;
    let conductor::Running { handle: conductor, port, task } = conductor::run(conductor::Setup {
        dataplane: handle,
        events: dataplane_events,
        store: store.clone(),
        rooms: store.rooms().await?,
        removals: store.removals().await?,
        announced: Announced::new(config.webrtc.announce.clone()),
        ice_servers: config.webrtc.ice_servers.clone(),
        certificate: Certificate::generate()?,
        events_of_rooms: Arc::clone(&events),
    });
    let address = listener.local_addr()?;
    keep_media_port(port, store.clone()).await;
    tell(banner(address, &keys));
    let conductor = Arc::new(conductor);
    let server = http::Server::new(http::Parts {
        config: config.http.clone(),
        guests: config.auth.guests,
        keys,
        sessions: Arc::clone(&conductor) as Arc<dyn Sessions>,
        conductor,
        events,
        store: store.clone(),
    });
    tracing::info!(%address, "serving HTTP");
    tokio::select! {
        served = http::serve(listener, server, shutdown) => served?,
        // Whoever starts it again gets all sessions back; left as it is, it would refuse everybody for ever.
        ended = task => anyhow::bail!("the owner of rooms and sessions has ended: {ended:?}"),
    }
    tracing::info!("shutting down");
    supervisor.shut_down().await;
    store.close().await;
    Ok(())
}

/// Returns the keys of the database and the configured one, which signs what the server issues.
async fn api_keys(config: &Config, store: &Store) -> anyhow::Result<KeyRing> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let stored = store.api_keys(i64::try_from(millis).unwrap_or(i64::MAX)).await?;
    Ok(KeyRing::new(ApiKey::parse(&config.auth.api_key).into_iter().chain(stored)))
}

/// Listens for HTTP. Port 0 takes a free port once and the same one from then on.
async fn listen(config: &Config, store: &Store) -> anyhow::Result<TcpListener> {
    const CHOICE: &str = "http_port";
    let mut address = config.http.listen;
    let is_chosen_here = address.port() == 0;
    if is_chosen_here && let Some(port) = store.choice(CHOICE).await?.and_then(|port| port.parse().ok()) {
        address.set_port(port);
    }
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}: is another program there? Choose another address with --http or http.listen"
        )
    })?;
    if is_chosen_here {
        store.choose(CHOICE, &listener.local_addr()?.port().to_string()).await?;
    }
    Ok(listener)
}

async fn supervision(config: &Config, store: &Store) -> anyhow::Result<dataplane::Setup> {
    let media_port = media_port(config, store).await?;
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    Ok(dataplane::Setup {
        data_dir: config.storage.data_dir.clone(),
        socket: config.dataplane_socket(),
        start: config.dataplane.start,
        program: config.dataplane.program.clone(),
        arguments: vec!["--log-format".to_owned(), format.to_owned()],
        media_port,
        stop: config.dataplane.stop,
    })
}

/// Returns the UDP port to ask for; 0 leaves the choice to the data plane.
///
/// A port that another program has is told here, once, and not by a data plane that dies again and again. When a data
/// plane is there, the port is its own.
async fn media_port(config: &Config, store: &Store) -> anyhow::Result<u16> {
    let configured = config.webrtc.media_port;
    let port = match configured {
        0 => store.choice(MEDIA_PORT).await?.and_then(|port| port.parse().ok()).unwrap_or(0),
        port => port,
    };
    let is_ours = !config.dataplane.start || !dataplane::is_deserted(&config.dataplane_socket());
    if port == 0 || is_ours || !is_taken(port) {
        return Ok(port);
    }
    if configured == 0 {
        tracing::warn!(port, "another program has taken the media port of last time; another one is chosen");
        return Ok(0);
    }
    anyhow::bail!(
        "cannot use UDP port {port} for media: is another program there? Choose another one with --media-port or \
         webrtc.media_port"
    )
}

fn is_taken(port: u16) -> bool {
    let bound = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
    bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

/// What a chosen UDP port is remembered under.
const MEDIA_PORT: &str = "media_port";

/// Waits for the data plane for a moment, and remembers the port that it took.
async fn keep_media_port(mut port: watch::Receiver<Option<u16>>, store: Store) {
    let ready = tokio::time::timeout(READY_PATIENCE, port.wait_for(Option::is_some)).await;
    let Ok(Ok(taken)) = ready.map(|outcome| outcome.map(|port| *port)) else {
        tracing::warn!("the data plane is not ready yet; /api/health says more");
        return;
    };
    if let Some(taken) = taken
        && let Err(error) = store.choose(MEDIA_PORT, &taken.to_string()).await
    {
        tracing::warn!(%error, "the media port is not remembered");
    }
}

/// Returns what its user wants to know: where the page and the API are, and a key.
fn banner(address: SocketAddr, keys: &KeyRing) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    let base = format!("http://{}", SocketAddr::new(host, address.port()));
    let key = keys.signing().map_or_else(String::new, |key| format!("{}:{}", key.id(), key.reveal()));
    format!(
        "\n  Sluice is running.\n\n  page     {base}/\n  API      {base}/api\n  API key  {key}\n\n  \
         REST takes the part after the colon: curl -H 'Authorization: Bearer SECRET' {base}/api/rooms\n  \
         Stop with Ctrl+C.\n\n"
    )
}

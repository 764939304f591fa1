//! Guests' requests come from this server's own page, or from no page at all.
//!
//! Whoever shows a token may ask from anywhere: pages of other origins have no token that was not given to them. A guest has
//! nothing to show, so any page in its browser could ask in its place. Two things keep them out:
//!
//! - *Other origins*: a browser says where a request comes from, by `Sec-Fetch-Site` (to `https` and `localhost`), else by
//!   `Origin`, which is compared with `Host`. Programs that are no browsers send neither.
//! - *DNS rebinding*: a page whose own name suddenly leads to this host is of the same origin to the browser, but its name is
//!   in `Host`. Over loopback only names that nobody else can have lead here: addresses, `localhost`, and those that the
//!   operator names. Once the operator names some, this holds for all connections.

use axum::extract::Request;
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, StatusCode};

use super::{Peer, Problem, Server};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Server {
    /// Checks that the request of a guest was not made by another server's page.
    ///
    /// # Errors
    /// 403, `host_unknown` or `cross_origin`.
    pub(super) fn check_page(&self, request: &Request) -> Result<(), Problem> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
        let is_loopback = peer.is_some_and(|peer| peer.is_loopback());
        let public_hosts = &self.config.public_hosts;
        let headers = request.headers();
        if (is_loopback || !public_hosts.is_empty()) && !is_own_host(headers, public_hosts) {
            let detail = "guests reach this server by an address, as localhost, or by a name in http.public_hosts";
            return Err(Problem::new(StatusCode::FORBIDDEN, "host_unknown", detail).of_field("host"));
        }
        if is_of_other_page(headers, public_hosts) {
            let detail = "without a token this takes requests of this server's own pages only; a proxy in front of it \
                has to pass Host on, or its name has to be in http.public_hosts";
            return Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail).of_field("origin"));
        }
        Ok(())
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Tells whether `Host` is a name that no other server's page can have. Browsers always send one.
fn is_own_host(headers: &HeaderMap, public_hosts: &[String]) -> bool {
    let Some(host) = text(headers, HOST) else { return true };
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host().trim_end_matches('.').to_ascii_lowercase();
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok() || name.starts_with('[');
    is_address || name == "localhost" || name.ends_with(".localhost") || is_public(&name, public_hosts)
}

/// Tells whether a browser says that a page of another origin asks.
fn is_of_other_page(headers: &HeaderMap, public_hosts: &[String]) -> bool {
    if let Some(site) = text(headers, SEC_FETCH_SITE) {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(headers, ORIGIN) else { return false };
    // "null" among them: a page in a sandbox or a file.
    let Some((name, port, default_port)) = origin_of(origin) else { return true };
    let host = text(headers, HOST).and_then(|host| host.parse::<Authority>().ok());
    let is_same = host
        .is_some_and(|host| host.host().eq_ignore_ascii_case(&name) && host.port_u16().unwrap_or(default_port) == port);
    !is_same && !is_public(&name, public_hosts)
}

/// Returns an origin's host, its port, and the one that its scheme means when there is none (RFC 6454 section 4).
fn origin_of(origin: &str) -> Option<(String, u16, u16)> {
    let uri: Uri = origin.parse().ok()?;
    let default_port = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default_port), default_port))
}

fn is_public(name: &str, public_hosts: &[String]) -> bool {
    public_hosts.iter().any(|public| public.eq_ignore_ascii_case(name))
}

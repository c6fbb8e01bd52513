//! Addresses of this machine, the only ones that a probe may ask.
//!
//! A health check that follows a name or leaves the container would report the health of something
//! else, and would be a way out for whoever writes recipes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `http://` and a loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUrl {
    /// As written, for the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Where to connect, in this order.
    pub addresses: Vec<SocketAddr>,
}

/// Where a port of this machine may listen: IPv4 first, as most services do.
#[must_use]
pub fn local(port: u16) -> Vec<SocketAddr> {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .map(|address| SocketAddr::new(address, port))
        .to_vec()
}

impl core::str::FromStr for LocalUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("`{url}` {why}"));
        let Some(rest) = url.strip_prefix("http://") else {
            return refuse("does not begin with `http://`");
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("holds characters that a URL writes as %XX");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if path.contains('#') {
            return refuse("has a fragment `#`, which is not sent to a server");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
                Ok(port) if port > 0 => (host, port),
                _ => return refuse("has no port from 1 to 65535"),
            },
            _ => (authority, 80),
        };
        let addresses = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host) {
            "localhost" => local(port),
            literal => match literal.parse::<IpAddr>() {
                Ok(address) if address.is_loopback() => vec![SocketAddr::new(address, port)],
                _ => return refuse("is not an address of this container"),
            },
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: authority.to_owned(), path, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read() {
        let url: LocalUrl = "http://127.0.0.1:3000/ready?deep=1".parse().unwrap();
        assert_eq!((url.authority.as_str(), url.path.as_str()), ("127.0.0.1:3000", "/ready?deep=1"));
        assert_eq!(url.addresses, ["127.0.0.1:3000".parse().unwrap()]);
        let url: LocalUrl = "http://localhost?x".parse().unwrap();
        assert_eq!((url.path.as_str(), url.addresses), ("/?x", local(80)));
        let url: LocalUrl = "http://[::1]".parse().unwrap();
        assert_eq!((url.path.as_str(), url.addresses), ("/", vec!["[::1]:80".parse().unwrap()]));
    }

    #[test]
    fn others_are_refused_with_a_reason() {
        for (url, why) in [
            ("https://127.0.0.1/", "does not begin with"),
            ("http://10.0.0.1/", "is not an address of this container"),
            ("http://example.com/", "is not an address of this container"),
            ("http://user@127.0.0.1/", "is not an address of this container"),
            ("http://127.0.0.1:3000@evil.example/", "has no port"),
            ("http://127.0.0.1:0/", "has no port"),
            ("http://127.0.0.1:99999/", "has no port"),
            ("http://127.0.0.1:/", "has no port"),
            ("http://127.0.0.1/ HTTP/1.1\r\nX: y", "%XX"),
            ("http://127.0.0.1/#top", "fragment"),
            ("http:///ready", "is not an address of this container"),
        ] {
            let error = url.parse::<LocalUrl>().unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}

//! Questions to this machine: does a URL answer 2xx, does a port accept connections?

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::address::{self, LocalUrl};

/// How long the rest of an answer is awaited once the status is known.
const REST: Duration = Duration::from_millis(100);

/// A port of this machine accepts a connection.
pub fn tcp(port: u16, limit: Duration) -> Result<(), String> {
    connect(&address::local(port), Instant::now() + limit)
        .map(drop)
        .map_err(|why| format!("port {port}: {why}"))
}

/// A URL of this machine answers 2xx. Redirects are not followed: they lead elsewhere.
pub fn http(url: &LocalUrl, limit: Duration) -> Result<(), String> {
    let LocalUrl { authority, path, addresses } = url;
    let say = |why: String| format!("http://{authority}{path}: {why}");
    let end = Instant::now() + limit;
    let mut stream = connect(addresses, end).map_err(say)?;
    let status = ask(&mut stream, authority, path, end).map_err(say)?;
    if (200..300).contains(&status) { Ok(()) } else { Err(say(format!("answered {status}"))) }
}

fn connect(addresses: &[SocketAddr], end: Instant) -> Result<TcpStream, String> {
    let mut why = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(address, left(end)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn ask(stream: &mut TcpStream, authority: &str, path: &str, end: Instant) -> Result<u16, String> {
    let words = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: imgforge-init\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(left(end)?)).map_err(words)?;
    stream.write_all(request.as_bytes()).map_err(words)?;
    // `HTTP/1.1 200`: more is not needed.
    let mut head = [0; 12];
    let mut filled = 0;
    while filled < head.len() {
        stream.set_read_timeout(Some(left(end)?)).map_err(words)?;
        match stream.read(&mut head[filled..]).map_err(words)? {
            0 => return Err("closed the connection without an answer".to_owned()),
            read => filled += read,
        }
    }
    // A server whose answer is cut off by a reset may log an error for every probe.
    if stream.set_read_timeout(Some(REST)).is_ok() {
        let mut rest = [0; 4096];
        let enough = Instant::now() + REST;
        while Instant::now() < enough.min(end) && stream.read(&mut rest).is_ok_and(|read| read > 0) {}
    }
    let text = std::str::from_utf8(&head).ok();
    let digits = text.filter(|text| text.starts_with("HTTP/1.")).and_then(|text| text.get(9..12));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| "does not speak HTTP".to_owned())
}

fn left(end: Instant) -> Result<Duration, String> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err("no answer in time".to_owned()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that gives this answer to the first connection, and closes or holds it.
    fn server(answer: &'static str, hold: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
            std::thread::sleep(hold);
        });
        port
    }

    fn get(answer: &'static str, hold: u64) -> Result<(), String> {
        let port = server(answer, Duration::from_millis(hold));
        let asked = http(&format!("http://localhost:{port}/x").parse().unwrap(), Duration::from_millis(300));
        asked.map_err(|why| why.replace(&port.to_string(), "PORT"))
    }

    #[test]
    fn only_2xx_is_health() {
        assert_eq!(get("HTTP/1.1 200 OK\r\n\r\nok", 0), Ok(()));
        assert_eq!(get("HTTP/1.0 204 No Content\r\n\r\n", 0), Ok(()));
        let error = |text: &str| Err(format!("http://localhost:PORT/x: {text}"));
        assert_eq!(get("HTTP/1.1 302 Found\r\n\r\n", 0), error("answered 302"));
        assert_eq!(get("HTTP/1.1 503 Service Unavailable\r\n\r\n", 0), error("answered 503"));
        assert_eq!(get("220 smtp.example ESMTP\r\n", 0), error("does not speak HTTP"));
        assert_eq!(get("HTTP/1.1", 0), error("closed the connection without an answer"));
        assert_eq!(get("", 1000), error("no answer in time"));
    }

    #[test]
    fn a_body_without_end_does_not_hold_the_probe() {
        let start = Instant::now();
        assert_eq!(get("HTTP/1.1 200 OK\r\n\r\n", 2000), Ok(()));
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_port_that_nobody_listens_on() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        assert_eq!(tcp(port, Duration::from_secs(1)), Ok(()));
        drop(free);
        assert!(tcp(port, Duration::from_secs(1)).unwrap_err().contains("refused"));
    }
}

//! Tests the connection to the broker without MQTT: name, port and TLS.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use rustls::{ClientConnection, pki_types::ServerName};

use super::{Settings, session, tls};

/// For each step.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a connection up to TLS, and closes it. An MQTT session would end the station's own on a broker that uses the user name
/// as client id. Blocks: not for an async task.
///
/// # Errors
/// Why the broker cannot be reached, in words with the remedy.
pub fn reach(settings: &Settings) -> Result<(), String> {
    let in_words = |error: io::Error| {
        session::io_words(
            &error,
            &session::address(settings),
            settings.url.host_str().unwrap_or_default(),
        )
    };
    let is_tls = settings.url.scheme() == "mqtts";
    let host = settings
        .url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let port = settings
        .url
        .port()
        .unwrap_or(if is_tls { 8883 } else { 1883 });
    let mut tried = Err(io::Error::from(io::ErrorKind::NotFound));
    for address in (host.as_str(), port).to_socket_addrs().map_err(in_words)? {
        tried = TcpStream::connect_timeout(&address, PATIENCE);
        if tried.is_ok() {
            break;
        }
    }
    let mut stream = tried.map_err(in_words)?;
    if is_tls {
        let timeouts = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        timeouts.map_err(in_words)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| "[mqtt] url names no host".to_owned())?;
        let mut tls = ClientConnection::new(tls::client_config(settings)?, name)
            .map_err(|error| tls::fault_in_words(&error, &host))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(in_words)?;
        }
    }
    Ok(())
}

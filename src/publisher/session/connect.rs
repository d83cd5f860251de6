//! The way to the broker: addresses, credentials, TLS and the will.

use std::{io, io::ErrorKind, net::SocketAddr, time::Duration};

use bytes::Bytes;
use rumqttc::{Broker, LastWill, MqttOptions, QoS, TlsConfiguration, Transport};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpStream, lookup_host};

use super::{ClientId, Fault, FaultKind, INCOMING_MAX, Settings, WINDOW, tls};
use crate::{
    publisher::message::{self, Topics},
    runtime::credential::Credential,
};

/// The kernel gives a connection up on which nothing that was sent arrives for this long. Without it a broker whose machine or network was away
/// for half a minute is noticed to be back only at the next repetition, 26 s later.
const UNHEARD: Duration = Duration::from_secs(8);
/// One of several addresses of the broker's name may take this long.
const ADDRESS: Duration = Duration::from_secs(1);

pub(super) async fn options(
    settings: &Settings,
    within: Duration,
    client_id: ClientId,
) -> Result<MqttOptions, Fault> {
    let host = match settings.url.host() {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => return Err(local("[mqtt] url names no host")),
    };
    let is_tls = settings.url.scheme() == "mqtts";
    let port = settings
        .url
        .port()
        .unwrap_or(if is_tls { 8883 } else { 1883 });
    let id = match client_id {
        ClientId::Station => format!("benchlight-{}-{}", settings.site, settings.station),
        ClientId::Doctor => format!("benchlight-{}-{}-doctor", settings.site, settings.station),
    };
    let mut options = MqttOptions::new(id, Broker::tcp(host, port));
    options.set_clean_start(true);
    options.set_session_expiry_interval(Some(0));
    options.set_keep_alive(
        u16::try_from(settings.keep_alive.as_secs())
            .unwrap_or(u16::MAX)
            .max(1),
    );
    options.set_outgoing_inflight_upper_limit(WINDOW);
    options.set_receive_maximum(Some(WINDOW));
    options.set_max_packet_size(Some(INCOMING_MAX));
    options.set_max_request_batch(usize::from(WINDOW));
    options.set_connect_timeout(within);
    options.set_socket_connector(|address, _| connect(address));
    if client_id == ClientId::Station {
        options.set_last_will(LastWill::new(
            Topics::new(settings).availability,
            message::OFFLINE,
            QoS::AtLeastOnce,
            true,
            None,
        ));
    }
    set_credentials(&mut options, settings)?;
    if is_tls {
        let settings = settings.clone();
        let config = tokio::task::spawn_blocking(move || tls::client_config(&settings)).await;
        let config = config
            .map_err(|_| local("the station is stopping"))?
            .map_err(local)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    Ok(options)
}

fn set_credentials(options: &mut MqttOptions, settings: &Settings) -> Result<(), Fault> {
    let password = settings
        .password
        .as_ref()
        .map(Credential::read_password)
        .transpose()
        .map_err(|fault| local(fault.to_string()))?
        .map(|password| Bytes::copy_from_slice(password.reveal().as_bytes()));
    match (&settings.username, password) {
        (Some(name), Some(password)) => {
            options.set_credentials(name.clone(), password);
        }
        (Some(name), None) => {
            options.set_username(name.clone());
        }
        (None, Some(password)) => {
            options.set_password(password);
        }
        (None, None) => {}
    }
    Ok(())
}

/// Something on this machine is missing or wrong.
fn local(words: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Away, words)
}

/// A connection to the first of the name's addresses that takes one.
async fn connect(address: String) -> io::Result<TcpStream> {
    let mut fault = io::Error::from(ErrorKind::NotFound);
    let addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
    let several = addresses.len() > 1;
    for address in addresses {
        let connecting = TcpStream::connect(address);
        let connected = if several {
            tokio::time::timeout(ADDRESS, connecting)
                .await
                .unwrap_or_else(|late| Err(late.into()))
        } else {
            connecting.await
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                set_tcp_user_timeout(
                    &stream,
                    u32::try_from(UNHEARD.as_millis()).unwrap_or(u32::MAX),
                )?;
                return Ok(stream);
            }
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

pub(in crate::publisher) fn address(settings: &Settings) -> String {
    let url = &settings.url;
    format!(
        "{}{}",
        url.host_str().unwrap_or_default(),
        url.port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use rustix::net::sockopt::tcp_user_timeout;
    use tokio::net::TcpListener;

    use super::*;
    use crate::publisher::Timing;

    #[tokio::test]
    async fn a_connection_on_which_nothing_arrives_is_given_up_so_soon_that_the_next_is_there_in_time()
     {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap().to_string())
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        // The longest wait for a repetition is half of it; then comes the first try.
        let given_up = Duration::from_millis(u64::from(tcp_user_timeout(&stream).unwrap()));
        let first = Timing::default().reconnect.first;
        assert!(
            !given_up.is_zero() && given_up / 2 + first < Duration::from_secs(5),
            "{given_up:?}"
        );
    }

    #[tokio::test]
    async fn of_several_addresses_of_a_name_the_first_that_takes_a_connection_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // ::1 and 127.0.0.1 on most machines; at the first of them nothing listens.
        connect(format!(
            "localhost:{}",
            listener.local_addr().unwrap().port()
        ))
        .await
        .unwrap();
    }
}

//! The demo's MQTT broker: MQTT 5 on a free loopback port, in memory, for this process's time.

use std::{io, net::SocketAddr};

use mqtt5::broker::{
    BrokerConfig, MqttBroker,
    config::{AuthConfig, StorageBackend, StorageConfig},
};
use tokio::task::JoinHandle;

/// A broker that serves until it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a broker for anybody on this machine.
///
/// # Errors
/// No port can be had.
pub(super) async fn start() -> io::Result<Running> {
    let storage = StorageConfig::new().with_backend(StorageBackend::Memory);
    let config = BrokerConfig::new()
        .with_bind_address(SocketAddr::from(([127, 0, 0, 1], 0)))
        .with_auth(AuthConfig::new().with_allow_anonymous(true))
        .with_storage(storage)
        .with_sys_topics_enabled(false);
    let mut broker = MqttBroker::with_config(config)
        .await
        .map_err(io::Error::other)?;
    let address = broker
        .local_addr()
        .ok_or_else(|| io::Error::other("the broker has no address"))?;
    let task = tokio::spawn(async move {
        if let Err(error) = broker.run().await {
            tracing::error!(%error, "the demo's broker stopped");
        }
    });
    Ok(Running { address, task })
}

//! The connections to one source's hosts: kept while they live, and given up together once one is dead or silent.

use std::{
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use super::ClientFault;
use crate::runtime::certificate;

/// Shorter than the idle time of the gateways in front of the services (60 s and more), so that a request rarely
/// meets a connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// Connections that are kept.
const POOL_KEPT: usize = 4;
/// A request without a head for so long may be on a connection that died in silence, and so may all that are kept: after a
/// change of the network each one would cost a scan its answer.
const SILENT: Duration = Duration::from_secs(1);

/// The system's trust anchors, read once: there are some hundred, and several sources.
static SYSTEM: OnceLock<rustls::RootCertStore> = OnceLock::new();

/// The kept connections of one client, and how to make others.
#[derive(Debug)]
pub(super) struct Connections {
    tls: rustls::ClientConfig,
    user_agent: String,
    connect: Duration,
    kept: Mutex<Kept>,
}

/// One set of kept connections.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    http: reqwest::Client,
    number: u64,
}

impl Connections {
    pub(super) fn new(
        ca_file: Option<&Path>,
        user_agent: &str,
        connect: Duration,
    ) -> Result<Self, ClientFault> {
        let tls = tls(ca_file)?;
        let http = made(&tls, user_agent, connect).map_err(ClientFault::Build)?;
        Ok(Self {
            tls,
            user_agent: user_agent.to_owned(),
            connect,
            kept: Mutex::new(Kept { http, number: 0 }),
        })
    }

    /// The connections that are kept now.
    pub(super) fn kept(&self) -> Kept {
        self.locked().clone()
    }

    /// A set without connections, not shared with anybody: its first request opens one.
    pub(super) fn fresh(&self) -> reqwest::Result<reqwest::Client> {
        made(&self.tls, &self.user_agent, self.connect)
    }

    /// Asks on `kept`. Should no head come for [`SILENT`], or the caller give up, others use new connections from then on.
    pub(super) async fn ask(
        &self,
        kept: &Kept,
        request: reqwest::Request,
    ) -> reqwest::Result<reqwest::Response> {
        let mut watch = Watch {
            connections: self,
            kept,
            is_heard: false,
        };
        let mut asked = pin!(kept.http.execute(request));
        let result = match tokio::time::timeout(SILENT, &mut asked).await {
            Ok(result) => result,
            Err(_) => {
                self.give_up(kept, None);
                asked.await
            }
        };
        watch.is_heard = true;
        result
    }

    /// Keeps other connections than `kept`: those of `http`, else new ones.
    pub(super) fn give_up(&self, kept: &Kept, http: Option<reqwest::Client>) {
        let Some(http) = http.or_else(|| self.fresh().ok()) else {
            return;
        };
        let mut now = self.locked();
        if now.number == kept.number {
            *now = Kept {
                http,
                number: now.number.wrapping_add(1),
            };
        }
    }

    fn locked(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees a caller that gives up before a head came.
struct Watch<'a> {
    connections: &'a Connections,
    kept: &'a Kept,
    is_heard: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.is_heard {
            self.connections.give_up(self.kept, None);
        }
    }
}

fn made(
    tls: &rustls::ClientConfig,
    user_agent: &str,
    connect: Duration,
) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        // The environment of a service manager or a shell must not send a credential another way.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(user_agent)
        .connect_timeout(connect)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_KEPT)
        .tcp_nodelay(true)
        .build()
}

/// TLS with the system's trust anchors and, if given, one file of further ones.
fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, ClientFault> {
    let mut roots = SYSTEM
        .get_or_init(|| {
            let mut roots = rustls::RootCertStore::empty();
            if roots
                .add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
                .0
                == 0
            {
                tracing::warn!("the system has no trusted certificates: install ca-certificates");
            }
            roots
        })
        .clone();
    if let Some(path) = ca_file {
        certificate::trust(path, &mut roots).map_err(ClientFault::CaFile)?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(ClientFault::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

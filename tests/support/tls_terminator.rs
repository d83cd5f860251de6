//! Terminates TLS in front of a plain server. The certificate can be replaced while it runs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificate;

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    links: Mutex<Vec<AbortHandle>>,
}

/// Listens on a free loopback port.
pub struct TlsTerminator {
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl TlsTerminator {
    pub async fn start(server: SocketAddr, certificate: &Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            config: Mutex::new(config(certificate)),
            links: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let acceptor = TlsAcceptor::from(Arc::clone(&accepting.config.lock().unwrap()));
                let link = tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let Ok(mut server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                accepting.links.lock().unwrap().push(link.abort_handle());
            }
        });
        Self { port, shared, task }
    }

    /// Replaces the certificate, and ends all connections made with the old one.
    pub fn present(&self, certificate: &Certificate) {
        *self.shared.config.lock().unwrap() = config(certificate);
        self.shared
            .links
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|link| link.abort());
    }
}

impl Drop for TlsTerminator {
    fn drop(&mut self) {
        self.task.abort();
        self.shared
            .links
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|link| link.abort());
    }
}

fn config(certificate: &Certificate) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    Arc::new(
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap(),
    )
}

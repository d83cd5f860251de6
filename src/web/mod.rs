//! The page at the bench and the metrics: one HTTP server, which the station never waits for.

mod assets;
mod board;
mod door;
mod live;
mod metrics;
mod problems;
mod restoring;
mod routes;
mod shapes;
mod shelves;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::http::Request;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, broadcast, watch},
    task::JoinSet,
    time::sleep,
};

pub use board::LaneSettings;
pub use shapes::DemoBox;

use crate::{
    health::{Health, WebCondition},
    journal::{Journal, reader::Day},
    publisher::{State as BrokerState, message::Meta},
    readiness::kind::SourceKind,
    runtime::{clock::ClockWatch, credential::Credential, name::Name, pulse::Pulse},
    scanner::{ScanSender, ScannerState},
    station::{lamp_feed::LampFeed, news::News, tally::Tally},
};
use door::Places;
use live::{About, Feeds, Live};
use routes::{Behind, Came, Web};

/// A port that cannot be had is tried again this often.
const RETRY: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD: usize = 8 * 1024;
/// How long a head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// What was sent and is not taken for so long ends the connection.
const UNTAKEN_MS: u32 = 5_000;
/// Bytes on their way to one reader that does not read.
const SEND_BUFFER: u32 = 64 * 1024;

/// `[web]`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    /// User `benchlight`: the page, scans and metrics.
    pub password: Option<Credential>,
    /// User `metrics`: the metrics alone.
    pub metrics_password: Option<Credential>,
    /// Further names under which it is reached, in lower case.
    pub hosts: Vec<String>,
    /// Is there a page?
    pub display: bool,
    /// Are there metrics?
    pub metrics: bool,
    /// Boxes to click, in the demo.
    pub demo: Vec<DemoBox>,
}

/// Where the server gets what it shows.
#[derive(Debug)]
pub struct Inputs {
    pub journal: Journal,
    pub meta: Meta,
    pub health: watch::Receiver<Health>,
    pub link: watch::Receiver<BrokerState>,
    pub today: watch::Receiver<Option<Arc<Day>>>,
    pub news: broadcast::Receiver<News>,
    pub lanes: Vec<(LaneSettings, LampFeed)>,
    /// For how long a box is asked again by itself.
    pub asked_for: Duration,
    /// The `web` scanner.
    pub input_box: Option<InputBox>,
    pub tally: Arc<Tally>,
    pub clock: ClockWatch,
    pub stop: watch::Receiver<bool>,
    pub pulse: Pulse,
}

/// The page's input box as a scanner.
#[derive(Debug)]
pub struct InputBox {
    pub scans: ScanSender,
    pub state: watch::Sender<ScannerState>,
    pub lane: Name,
}

/// Serves until `inputs.stop` is true. A port that cannot be had is a state, not an end.
pub async fn run(settings: Settings, inputs: Inputs, state: watch::Sender<WebCondition>) {
    let mut stop = inputs.stop.clone();
    let lamps: Vec<(Name, LampFeed)> = inputs
        .lanes
        .iter()
        .map(|(lane, feed)| (lane.name.clone(), feed.clone()))
        .collect();
    let feeds = Feeds {
        news: inputs.news,
        lamps: lamps.clone(),
        journal: inputs.journal.clone(),
        clock: inputs.clock,
        pulse: inputs.pulse,
    };
    let kinds = inputs.meta.sources.iter();
    let mut kinds = kinds.filter_map(|(_, kind, _)| SourceKind::from_code(kind));
    let about = About {
        mdm: kinds.find_map(SourceKind::mdm),
        meta: inputs.meta,
        scan: inputs.input_box.as_ref().map(|input_box| shapes::InputBox {
            lane: input_box.lane.as_str().to_owned(),
        }),
        demo: settings.demo.clone(),
        asked_for: inputs.asked_for,
    };
    let lanes: Vec<LaneSettings> = inputs.lanes.into_iter().map(|(lane, _)| lane).collect();
    let live = Arc::new(Live::new(
        about,
        &lanes,
        inputs.health.clone(),
        inputs.link.clone(),
        inputs.today,
    ));
    let at_start = inputs.health.borrow().journal.clone();
    let behind = Behind {
        live: Arc::clone(&live),
        at_start,
        health: inputs.health,
        link: inputs.link,
        journal: inputs.journal,
        tally: inputs.tally,
        lamps,
    };
    let input_box = inputs.input_box.map(|one| (one.scans, one.state));
    let (input_box, scanner) = input_box.unzip();
    let said = Said { state, scanner };
    let served = async {
        match Web::new(&settings, behind, input_box) {
            Ok(web) => listen(settings.listen, web, &said).await,
            Err(_) => tracing::error!("the system gives no random numbers: there is no page"),
        }
    };
    tokio::select! {
        // Neither ends before the station does.
        _ = async { tokio::join!(live.follow(feeds), served) } => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Where the server says whether it listens.
struct Said {
    state: watch::Sender<WebCondition>,
    scanner: Option<watch::Sender<ScannerState>>,
}

impl Said {
    fn say(&self, state: WebCondition, scanner: ScannerState) {
        self.state.send_replace(state);
        if let Some(said) = &self.scanner {
            said.send_replace(scanner);
        }
    }

    fn refused(&self, listen: SocketAddr, error: &io::Error) {
        let state = why(error);
        let scanner = match state {
            WebCondition::Busy => ScannerState::Busy,
            WebCondition::NoRight => ScannerState::NoRight,
            _ => ScannerState::Fault(format!("cannot listen on {listen}: {error}")),
        };
        if *self.state.borrow() != state {
            tracing::warn!(%listen, %error, "the page's port cannot be had; the station goes on and tries again");
        }
        self.say(state, scanner);
    }
}

/// Why a port cannot be had.
fn why(error: &io::Error) -> WebCondition {
    match error.kind() {
        io::ErrorKind::AddrInUse => WebCondition::Busy,
        io::ErrorKind::PermissionDenied => WebCondition::NoRight,
        _ => WebCondition::Fault,
    }
}

/// Opens the page's port and closes it again, for the doctor.
pub fn probe(listen: SocketAddr) -> WebCondition {
    std::net::TcpListener::bind(listen).map_or_else(|error| why(&error), |_| WebCondition::Ok)
}

async fn listen(listen: SocketAddr, web: Web, said: &Said) {
    loop {
        match bind(listen) {
            Ok(listener) => {
                tracing::info!(%listen, "the page is open");
                said.say(WebCondition::Ok, ScannerState::Ok);
                return serve(&listener, &web).await;
            }
            Err(error) => said.refused(listen, &error),
        }
        sleep(RETRY).await;
    }
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(listen)?;
    socket.listen(128)
}

/// Accepts connections, as many as there are places; a further one is closed at once.
async fn serve(listener: &TcpListener, web: &Web) {
    let places = Places::default();
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        if let (Some(place), Ok(local)) = (places.take(peer), stream.local_addr()) {
            let web = web.clone();
            connections.spawn(async move {
                connection(stream, local, web).await;
                drop(place);
            });
        }
    }
}

async fn connection(stream: TcpStream, local: SocketAddr, web: Web) {
    let _ = stream.set_nodelay(true);
    let _ = set_tcp_user_timeout(&stream, UNTAKEN_MS);
    let let_go = Arc::new(Notify::new());
    let came = Came {
        local,
        let_go: Arc::clone(&let_go),
    };
    let routes = TowerToHyperService::new(routes::routes(web));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(came.clone());
        routes.call(request)
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut served => return,
        () = let_go.notified() => {}
    }
    // A reset: a plain close would wait behind what the page has not taken, and might never reach it.
    let _ = served.into_parts().io.into_inner().set_zero_linger();
}

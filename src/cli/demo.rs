//! `demo`: the whole agent with nothing else installed. It is `run` with a shipped config whose ports are filled in.

mod broker;
mod words;

use std::{
    fmt::{self, Write as _},
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};

use anyhow::Context;
use uuid::Uuid;

use super::run::run as run_station;
use crate::{
    config::demo::{self, Places},
    readiness::{evidence::SourceKind, simulate},
    reason::{Reason, Signal},
    runtime::{file, stream::LOG},
    simulator::{
        Order,
        stock::{self, DemoBox as DemoStock},
    },
    web::DemoBox,
};

/// So many boxes of one reason are shown: the list fits a screen.
const OF_ONE_REASON: usize = 2;
/// The page's port, if it is free.
const PAGE_PORT: u16 = 8480;
/// An IMEI.
const WRONG_CODE: &str = "490154203237518";

/// Starts the simulated services and the broker, says on standard error what to do, and runs the agent.
///
/// # Errors
/// A port or a folder that cannot be had, or what `run` says.
pub(super) async fn run() -> anyhow::Result<u8> {
    let folder = Folder::make().context("cannot make a folder for the demo")?;
    let credentials = folder.0.join("credentials");
    fs::DirBuilder::new().mode(0o700).create(&credentials)?;

    let mut simulators = Vec::new();
    for kind in SourceKind::ALL {
        let order = Order {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            boxes: 0,
            limits: false,
        };
        let simulator = simulate(*kind, order)
            .await
            .with_context(|| format!("cannot start the simulator of {}", kind.code()))?;
        let (name, secret) = &simulator.credential;
        file::write_private(&credentials.join(name), secret)?;
        simulators.push((*kind, simulator.running));
    }
    let broker = broker::start()
        .await
        .context("cannot start the demo's broker")?;
    let ports: Vec<_> = simulators
        .iter()
        .map(|(kind, running)| (*kind, running.address().port()))
        .collect();
    let places = Places {
        source_ports: &ports,
        broker_port: broker.address().port(),
        page_port: page_port().context("cannot get a port for the page")?,
        state_dir: &folder.0.join("state"),
        credentials_dir: &credentials,
    };
    let mut config = demo::config(&places)?;
    if let Some(web) = &mut config.web {
        web.demo = boxes_to_click();
    }
    let switches = simulators
        .iter()
        .map(|(_, running)| running.faults().clone());
    words::take_out(switches.collect()).context("cannot read what is typed")?;
    LOG.push(welcome(broker.address(), places.page_port)?.as_bytes());
    run_station(config).await
}

/// The boxes that are offered: a few of each reason.
fn shown_boxes() -> impl Iterator<Item = &'static DemoStock> {
    let mut shown: Vec<&str> = Vec::new();
    stock::DEMO.iter().filter(move |one| {
        let of_it = shown.iter().filter(|reason| **reason == one.expected);
        let is_shown = of_it.count() < OF_ONE_REASON;
        if is_shown {
            shown.push(one.expected);
        }
        is_shown
    })
}

/// What to do, on one screen.
fn welcome(broker: SocketAddr, page: u16) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(
        out,
        "Benchlight demo: the whole station, with Kandji and Apple's two services simulated and a broker of its own.\n"
    )?;
    writeln!(
        out,
        "Type a serial number and press Enter, as a scanner would. Ctrl-D or Ctrl-C ends.\n\
         Type outage, and the services are dead for a minute: boxes that the replica holds go on.\n"
    )?;
    for one in shown_boxes() {
        writeln!(
            out,
            "  {:<15} {:<21} {}",
            one.serial, one.expected, one.story
        )?;
    }
    writeln!(
        out,
        "  {WRONG_CODE:<15} {:<21} the IMEI of a box: the wrong barcode\n",
        "imei"
    )?;
    writeln!(out, "The page at the bench: http://127.0.0.1:{page}/\n")?;
    writeln!(out, "Watch its messages from another terminal:")?;
    writeln!(
        out,
        "  mosquitto_sub -h {} -p {} -V 5 -t 'benchlight/#' -v\n",
        broker.ip(),
        broker.port()
    )?;
    Ok(out)
}

/// The page's usual port if it is free, else another one.
fn page_port() -> io::Result<u16> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = free(PAGE_PORT).or_else(|_| free(0))?;
    Ok(listener.local_addr()?.port())
}

/// The boxes that the page offers: those of the welcome, and a wrong barcode.
fn boxes_to_click() -> Vec<DemoBox> {
    let signal = |reason: &str| {
        Reason::from_code(reason).map_or(Signal::None, |reason| reason.verdict().signal())
    };
    let boxes = shown_boxes().map(|one| DemoBox {
        serial: one.serial.to_owned(),
        what: one.story.to_owned(),
        signal: signal(one.expected).code(),
    });
    let wrong = DemoBox {
        serial: WRONG_CODE.to_owned(),
        what: "the IMEI of a box: the wrong barcode".to_owned(),
        signal: Signal::Rescan.code(),
    };
    boxes.chain([wrong]).collect()
}

/// A folder of this run alone; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("benchlight-demo-{}", Uuid::now_v7()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

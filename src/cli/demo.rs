//! `demo`: the whole agent with nothing else installed. It is `run` with a shipped config whose ports are filled in.

mod broker;
mod screens;
mod words;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::{fs::DirBuilderExt, net},
    },
};

use anyhow::Context;

use super::{folder::Folder, run::run as run_station};
use crate::{
    config::demo::{self, Places},
    readiness::{evidence::SourceKind, simulate},
    runtime::{file, stream::LOG},
    simulator::Order,
};
use screens::{Boxes, Screens};

/// The page's usual port.
const PAGE_PORT: u16 = 8480;
/// The abstract socket of the demo that may use it. That the port is free is not enough: a demo that has just started opens it later.
const PAGE_CLAIM: &str = "benchlight demo page";

/// Starts the simulated services, with that MDM among them, and the broker, says on standard error what to do, and runs the agent.
///
/// # Errors
/// A port or a folder that cannot be had, or what `run` says.
pub(super) async fn run(mdm: SourceKind) -> anyhow::Result<u8> {
    let folder = Folder::make().context("cannot make a folder for the demo")?;
    let credentials = folder.path().join("credentials");
    fs::DirBuilder::new().mode(0o700).create(&credentials)?;

    let mut simulators = Vec::new();
    let (mut source, mut differs) = (String::new(), Default::default());
    for kind in asked(mdm) {
        let order = Order {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            boxes: 0,
            limits: false,
        };
        let simulator = simulate(kind, order)
            .await
            .with_context(|| format!("cannot start the simulator of {}", kind.code()))?;
        let (name, secret) = &simulator.credential;
        file::write_private(&credentials.join(name), secret)?;
        if kind == mdm {
            (source, differs) = (simulator.source, simulator.differs);
        }
        simulators.push((kind, simulator.running));
    }
    let broker = broker::start()
        .await
        .context("cannot start the demo's broker")?;
    let ports: Vec<_> = simulators
        .iter()
        .map(|(kind, running)| (*kind, running.address().port()))
        .collect();
    let boxes = Boxes { differs };
    let (page_port, _claim) = page_port().context("cannot get a port for the page")?;
    let places = Places {
        mdm: (mdm != SourceKind::Kandji).then_some((mdm, &*source)),
        source_ports: &ports,
        broker_port: broker.address().port(),
        page_port,
        state_dir: &folder.path().join("state"),
        credentials_dir: &credentials,
    };
    let mut config = demo::config(&places)?;
    if let Some(web) = &mut config.web {
        web.demo = boxes.to_click();
    }
    let switches = simulators
        .iter()
        .map(|(_, running)| running.faults().clone());
    let file = folder.path().join("demo.toml");
    file::write_private(&file, &demo::text(&places))?;
    let screens = Screens {
        program: std::env::args().next().unwrap_or_default(),
        config: file,
        broker: broker.address(),
        page_port,
        boxes,
    };
    words::take_out(switches.collect(), boxes.list(), screens.help())
        .context("cannot read what is typed")?;
    LOG.push(screens.first().as_bytes());
    run_station(config).await
}

/// The services of a station with that MDM.
fn asked(mdm: SourceKind) -> impl Iterator<Item = SourceKind> {
    let all = SourceKind::ALL.iter().copied();
    all.filter(move |kind| {
        let says_the_same = kind.speaks_for_apple() && mdm.speaks_for_apple();
        *kind == mdm || !(kind.is_mdm() || says_the_same)
    })
}

/// The page's usual port, or another one if a demo or another program has it. The socket is the claim: it is held until the demo ends.
fn page_port() -> io::Result<(u16, Option<net::UnixListener>)> {
    let name = net::SocketAddr::from_abstract_name(PAGE_CLAIM)?;
    let claim = net::UnixListener::bind_addr(&name).ok();
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = if claim.is_some() {
        free(PAGE_PORT).or_else(|_| free(0))?
    } else {
        free(0)?
    };
    Ok((listener.local_addr()?.port(), claim))
}

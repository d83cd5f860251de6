//! `demo`: the whole agent with nothing else installed. It is `run` with a shipped config whose ports are filled in.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use uuid::Uuid;

use super::run::run as run_station;
use crate::{
    config::demo::{self, Places},
    simulator::{
        broker,
        kandji::{self, demo::Sample},
    },
};

/// The token that the simulated Kandji accepts.
const TOKEN: &str = "demo-token";

/// Starts the simulated service and the broker, says on standard error what to do, and runs the agent.
///
/// # Errors
/// A port or a folder that cannot be had, or what `run` says.
pub(super) async fn run() -> anyhow::Result<u8> {
    let folder = Folder::make().context("cannot make a folder for the demo")?;
    let credentials = folder.0.join("credentials");
    fs::DirBuilder::new().mode(0o700).create(&credentials)?;
    write_secret(&credentials.join("kandji-token"), TOKEN)?;
    let stock = kandji::demo::demo_stock();
    let samples = stock.samples.clone();
    let service = kandji::serve(kandji::Options { switches: stock.switches, ..kandji::Options::new(TOKEN, stock.stock) }).await;
    let service = service.context("cannot start the simulated Kandji")?;
    let broker = broker::start().await.context("cannot start the demo's broker")?;
    let places = Places {
        kandji_port: service.address().port(),
        broker_port: broker.address().port(),
        state_dir: &folder.0.join("state"),
        credentials_dir: &credentials,
    };
    let config = demo::config(&places)?;
    welcome(&samples, broker.address()).context("cannot write to standard error")?;
    run_station(config).await
}

/// What to do, on one screen.
fn welcome(samples: &[Sample], broker: SocketAddr) -> io::Result<()> {
    let mut out = io::stderr().lock();
    writeln!(out, "Benchlight demo: the whole station, with a simulated Kandji and a broker of its own.\n")?;
    writeln!(out, "Type a serial number and press Enter, as a scanner would. Ctrl-C ends.\n")?;
    for sample in samples {
        writeln!(out, "  {:<14} {:<22} {}", sample.serial, sample.reason, sample.words)?;
    }
    writeln!(out, "  {:<14} {:<22} the IMEI of a box: the wrong barcode\n", "490154203237518", "imei")?;
    writeln!(out, "Watch its messages from another terminal:")?;
    writeln!(out, "  mosquitto_sub -h {} -p {} -V 5 -t 'benchlight/#' -v\n", broker.ip(), broker.port())
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

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    fs::File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(secret.as_bytes())
}

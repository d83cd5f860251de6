//! `demo`: the whole agent with nothing else installed. It is `run` with a shipped config whose ports are filled in.

use std::{
    fmt::{self, Write as _},
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use uuid::Uuid;

use super::run::run as run_station;
use crate::{
    config::demo::{self, Places},
    runtime::stream::LOG,
    simulator::{apple_business, apple_dep, broker, kandji, stock},
};

/// The token that the simulated Kandji accepts.
const TOKEN: &str = "demo-token";
/// So many boxes of one reason are shown: the list fits a screen.
const OF_ONE_REASON: usize = 2;

/// Starts the simulated services and the broker, says on standard error what to do, and runs the agent.
///
/// # Errors
/// A port or a folder that cannot be had, or what `run` says.
pub(super) async fn run() -> anyhow::Result<u8> {
    let folder = Folder::make().context("cannot make a folder for the demo")?;
    let credentials = folder.0.join("credentials");
    fs::DirBuilder::new().mode(0o700).create(&credentials)?;

    let stock = kandji::demo::demo_stock();
    let kandji = kandji::serve(kandji::Options {
        switches: stock.switches,
        ..kandji::Options::new(TOKEN, stock.stock)
    })
    .await;
    let kandji = kandji.context("cannot start the simulated Kandji")?;
    let apple = apple_dep::serve(apple_dep::Options::demo())
        .await
        .context("cannot start the simulated Device Assignment Services")?;
    let business = apple_business::serve(apple_business::Options::demo())
        .await
        .context("cannot start the simulated Apple Business Manager")?;
    let broker = broker::start()
        .await
        .context("cannot start the demo's broker")?;
    for (name, secret) in [
        ("kandji-token", TOKEN.to_owned()),
        ("apple-dep-token", apple.credential()),
        ("apple-business-key", business.credential()),
    ] {
        write_secret(&credentials.join(name), &secret)?;
    }

    let places = Places {
        kandji_port: kandji.address().port(),
        apple_port: apple.address().port(),
        business_port: business.address().port(),
        broker_port: broker.address().port(),
        state_dir: &folder.0.join("state"),
        credentials_dir: &credentials,
    };
    let config = demo::config(&places)?;
    LOG.push(welcome(broker.address())?.as_bytes());
    run_station(config).await
}

/// What to do, on one screen.
fn welcome(broker: SocketAddr) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(
        out,
        "Benchlight demo: the whole station, with Kandji and Apple's two services simulated and a broker of its own.\n"
    )?;
    writeln!(
        out,
        "Type a serial number and press Enter, as a scanner would. Ctrl-D or Ctrl-C ends.\n"
    )?;
    let mut shown: Vec<&str> = Vec::new();
    for one in stock::DEMO {
        if shown
            .iter()
            .filter(|reason| **reason == one.expected)
            .count()
            < OF_ONE_REASON
        {
            shown.push(one.expected);
            writeln!(
                out,
                "  {:<15} {:<21} {}",
                one.serial, one.expected, one.story
            )?;
        }
    }
    writeln!(
        out,
        "  {:<15} {:<21} the IMEI of a box: the wrong barcode\n",
        "490154203237518", "imei"
    )?;
    writeln!(out, "Watch its messages from another terminal:")?;
    writeln!(
        out,
        "  mosquitto_sub -h {} -p {} -V 5 -t 'benchlight/#' -v\n",
        broker.ip(),
        broker.port()
    )?;
    Ok(out)
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
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(secret.as_bytes())
}

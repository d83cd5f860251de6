//! mosquitto on free loopback ports, with Debian's mosquitto.conf and, in conf.d, the shipped `config/mosquitto/{conf,acl}`.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    certificates::{Authority, Certificate, Validity},
    free_port,
};

/// Users of the shipped access list, with their passwords. Each can have one connection, because the user name is the client id.
pub const STATION: (&str, &str) = ("bench-1", "station secret");
pub const OTHER_STATION: (&str, &str) = ("bench-2", "another station's secret");
pub const DASHBOARD: (&str, &str) = ("dashboard", "dashboard secret");
/// A second user that may read everything.
pub const TELEGRAF: (&str, &str) = ("telegraf-scans", "telegraf secret");
pub const HOME_ASSISTANT: (&str, &str) = ("home-assistant", "home assistant secret");
pub const NODE_RED: (&str, &str) = ("node-red", "node-red secret");
pub const OPERATOR: (&str, &str) = ("operator", "operator secret");

/// Debian's /etc/mosquitto/mosquitto.conf, without comments.
pub const OF_DEBIAN: &str = "pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
";

/// Differences from the shipped config.
#[derive(Clone, Copy, Debug, Default)]
pub struct Differences {
    /// Client certificates are required, as the shipped config's comments describe.
    pub mutual_tls: bool,
    /// Nothing survives a restart.
    pub forgetful: bool,
    /// The largest packet it accepts. `None`: as shipped.
    pub max_packet_size: Option<u32>,
}

/// A running mosquitto, killed when dropped.
pub struct Mosquitto {
    pub folder: tempfile::TempDir,
    /// The port without TLS.
    pub plain: u16,
    /// The port with TLS.
    pub tls: u16,
    pub authority: Authority,
    /// Effective from the next start.
    pub differences: Differences,
    child: Option<Child>,
}

impl Mosquitto {
    /// The station's `[mqtt]`, with its password in the credential `mqtt-password`.
    pub fn section(&self) -> String {
        format!(
            "[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nusername = \"{}\"\npassword_credential = \"mqtt-password\"\n",
            self.plain, STATION.0
        )
    }

    /// Starts it with its own certificate authority and a certificate for `localhost`.
    pub fn start() -> Self {
        Self::start_with(Differences::default())
    }

    pub fn start_with(differences: Differences) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("benchlight test authority");
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        let mut mosquitto = Self {
            folder,
            plain: free_port(),
            tls: free_port(),
            authority,
            differences,
            child: None,
        };
        let certificate = mosquitto.authority.server("localhost", Validity::Now);
        mosquitto.use_certificate(&certificate);
        fs::write(mosquitto.path("ca.pem"), mosquitto.authority.pem()).unwrap();
        mosquitto.use_access_list(&shipped("acl"));
        mosquitto.write_passwords();
        // Tests run in parallel: a port that was free may be taken by now.
        while !mosquitto.tried() {
            assert!(
                mosquitto.log().contains("Address already in use"),
                "mosquitto does not start: {}",
                mosquitto.log()
            );
            let _ = ["log", "mosquitto.log"].map(|name| fs::remove_file(mosquitto.path(name)));
            (mosquitto.plain, mosquitto.tls) = (free_port(), free_port());
        }
        mosquitto
    }

    /// The folder that replaces all of mosquitto's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the server certificate, effective from the next start.
    pub fn use_certificate(&self, certificate: &Certificate) {
        fs::write(self.path("server.pem"), &certificate.certificate).unwrap();
        fs::write(self.path("server.key"), &certificate.key).unwrap();
    }

    /// Replaces the access list, effective from the next start or [`Self::reload`].
    pub fn use_access_list(&self, text: &str) {
        fs::write(self.path("acl"), text).unwrap();
    }

    /// SIGHUP: reads the access list again and keeps all connections.
    pub fn reload(&self) {
        self.signal("HUP");
    }

    /// SIGSTOP: the kernel still accepts connections, but nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Starts it on the same ports.
    pub fn run(&mut self) {
        assert!(self.tried(), "mosquitto does not start: {}", self.log());
    }

    fn tried(&mut self) -> bool {
        let config = self.path("mosquitto.conf");
        fs::write(&config, self.debians()).unwrap();
        fs::write(self.path("conf.d/benchlight.conf"), self.config()).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-v")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mosquitto is installed");
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                return false;
            }
            // It is this process that listens on both ports.
            if TcpStream::connect(("127.0.0.1", self.plain)).is_ok()
                && TcpStream::connect(("127.0.0.1", self.tls)).is_ok()
            {
                std::thread::sleep(Duration::from_millis(20));
                return child.try_wait().unwrap().is_none();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL: it neither disconnects its clients nor saves anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; waits until it has ended.
    pub fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        ["log", "mosquitto.log"]
            .map(|name| fs::read_to_string(self.path(name)).unwrap_or_default())
            .concat()
    }

    /// Publishes with Debian's own client, as other programs would.
    pub fn publish_as(&self, user: (&str, &str), arguments: &[&str]) {
        let port = self.plain.to_string();
        let mut command = Command::new("mosquitto_pub");
        command
            .args([
                "-V",
                "5",
                "-q",
                "1",
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-u",
                user.0,
                "-P",
                user.1,
            ])
            .args(arguments);
        assert!(
            command.status().unwrap().success(),
            "mosquitto_pub {arguments:?}"
        );
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Debian's config with the test's folders.
    fn debians(&self) -> String {
        let mut text = OF_DEBIAN.to_owned();
        for folder in [
            "/run/mosquitto/",
            "/var/lib/mosquitto/",
            "/var/log/mosquitto/",
            "/etc/mosquitto/",
        ] {
            text = text.replace(folder, &format!("{}/", self.folder.path().display()));
        }
        if self.differences.forgetful {
            text = text.replace("persistence true", "persistence false");
        }
        // Started by root, it would become the user mosquitto, who may not enter the test's folder. Other users ignore this line.
        text + "user root\n"
    }

    /// The shipped config with the test's ports and folders. Panics if one of the lines to replace is gone.
    fn config(&self) -> String {
        let mut text = shipped("conf");
        let mut replace = |old: &str, new: &str| {
            assert!(text.contains(old), "config/mosquitto/conf has no {old:?}");
            text = text.replace(old, new);
        };
        let folder = self.folder.path().to_str().unwrap();
        replace(
            "\nlistener 8883\n",
            &format!("\nlistener {} 127.0.0.1\n", self.tls),
        );
        replace(
            "\nlistener 1883 127.0.0.1\n",
            &format!("\nlistener {} 127.0.0.1\n", self.plain),
        );
        replace("/etc/mosquitto/benchlight/", &format!("{folder}/"));
        if self.differences.mutual_tls {
            replace("#require_certificate", "require_certificate");
            replace("#use_identity_as_username", "use_identity_as_username");
        }
        if let Some(size) = self.differences.max_packet_size {
            replace(
                "\nmax_packet_size 65536\n",
                &format!("\nmax_packet_size {size}\n"),
            );
        }
        text
    }

    fn write_passwords(&self) {
        let file = self.path("passwords");
        let lines: Vec<String> = [
            STATION,
            OTHER_STATION,
            DASHBOARD,
            TELEGRAF,
            HOME_ASSISTANT,
            NODE_RED,
            OPERATOR,
        ]
        .iter()
        .map(|(name, password)| format!("{name}:{password}\n"))
        .collect();
        fs::write(&file, lines.concat()).unwrap();
        assert!(
            Command::new("mosquitto_passwd")
                .arg("-U")
                .arg(&file)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn shipped(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("config/mosquitto")
            .join(name),
    )
    .unwrap()
}

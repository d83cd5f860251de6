//! The service's unit, as far as it names credentials: what systemd hands over when it starts the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::file;

const UNIT: &str = "benchlight.service";
/// Where units and their drop-ins lie; the first that has a name counts.
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// Where systemd looks for a credential that is named without a path.
const STORES: [&str; 4] = [
    "etc/credstore",
    "run/credstore",
    "usr/local/lib/credstore",
    "usr/lib/credstore",
];
const LARGEST: u64 = 1 << 20;

/// What the unit says of one credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// `LoadCredential=`: this file.
    File(PathBuf),
    /// `LoadCredentialEncrypted=`: only the service manager reads it.
    Encrypted,
}

/// The credentials that the unit below `root` names, with its drop-ins.
pub fn credentials(root: &Path) -> BTreeMap<String, Loaded> {
    let mut found = BTreeMap::new();
    for text in texts(root) {
        let mut section = "";
        let whole = text.replace("\\\n", " ");
        for line in whole
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with(['#', ';']))
        {
            if line.starts_with('[') {
                section = if line == "[Service]" { "service" } else { "" };
            }
            let (key, value) = line
                .split_once('=')
                .map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
            let is_encrypted = key == "LoadCredentialEncrypted";
            if section.is_empty() || !is_encrypted && key != "LoadCredential" {
                continue;
            }
            if value.is_empty() {
                // An empty list takes back all that was said before.
                found.clear();
                continue;
            }
            let (name, path) = value.split_once(':').unwrap_or((value, value));
            if is_encrypted {
                found.insert(name.to_owned(), Loaded::Encrypted);
                continue;
            }
            let path = place(root, &path.replace("%%", "%"));
            match fs::read_dir(&path) {
                Ok(files) => found.extend(files.flatten().map(|file| {
                    (
                        format!("{name}_{}", file.file_name().display()),
                        Loaded::File(file.path()),
                    )
                })),
                Err(_) => drop(found.insert(name.to_owned(), Loaded::File(path))),
            }
        }
    }
    found
}

/// The file that a value of `LoadCredential=` names.
fn place(root: &Path, path: &str) -> PathBuf {
    if let Some(path) = path.strip_prefix('/') {
        return root.join(path);
    }
    let in_store = |store: &str| root.join(store).join(path);
    let found = STORES
        .iter()
        .map(|store| in_store(store))
        .find(|path| path.exists());
    found.unwrap_or_else(|| in_store("etc/credstore"))
}

/// The unit and its drop-ins, in the order in which they count.
fn texts(root: &Path) -> Vec<String> {
    let folders = || FOLDERS.iter().map(|folder| root.join(folder));
    let unit = folders()
        .map(|folder| folder.join(UNIT))
        .find(|path| path.exists());
    let dropins: Vec<PathBuf> = folders()
        .flat_map(|folder| [folder.join(format!("{UNIT}.d")), folder.join("service.d")])
        .collect();
    let names: BTreeSet<_> = dropins
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.file_name())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "conf"))
        .collect();
    let chosen = names.into_iter().filter_map(|name| {
        dropins
            .iter()
            .map(|folder| folder.join(&name))
            .find(|path| fs::symlink_metadata(path).is_ok())
    });
    // A drop-in that leads to /dev/null is switched off, and reads as nothing.
    unit.into_iter()
        .chain(chosen)
        .filter_map(|path| {
            file::read(&path, LARGEST)
                .ok()
                .and_then(|(bytes, _)| file::text(bytes).ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn unit_and_drop_ins_are_read_as_systemd_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(credentials(root).is_empty(), "no unit");
        write(
            root,
            "usr/lib/systemd/system/benchlight.service",
            "[Unit]\nLoadCredential=no:/no\n[Service]\n#LoadCredential=no:/no\nLoadCredential=old:/old\n",
        );
        let dropin = |name: &str, text: &str| {
            write(
                root,
                &format!("etc/systemd/system/benchlight.service.d/{name}"),
                text,
            )
        };
        dropin(
            "20-mine.conf",
            "[Service]\nLoadCredential=\nLoadCredential=kandji-token:/etc/x\\\n/kandji\n LoadCredential = mqtt-password:/srv/100%%/p\nLoadCredentialEncrypted=mqtt-key:/etc/k.cred\n",
        );
        // Before the one above, which takes it back; and a file of the package that has the same name.
        dropin("10-early.conf", "[Service]\nLoadCredential=early:/early\n");
        write(
            root,
            "usr/lib/systemd/system/benchlight.service.d/20-mine.conf",
            "[Service]\nLoadCredential=hidden:/hidden\n",
        );
        dropin(
            "30-stores.conf",
            "[Service]\nLoadCredential=stored\nLoadCredential=many:/srv/many\n",
        );
        write(root, "run/credstore/stored", "x");
        write(root, "srv/many/a", "x");
        dropin("note.txt", "[Service]\nLoadCredential=no:/no\n");
        let file = |path: &str| Loaded::File(root.join(path));
        let wanted = [
            ("kandji-token", file("etc/x /kandji")),
            ("many_a", file("srv/many/a")),
            ("mqtt-key", Loaded::Encrypted),
            ("mqtt-password", file("srv/100%/p")),
            ("stored", file("run/credstore/stored")),
        ];
        assert_eq!(
            credentials(root),
            wanted
                .map(|(name, loaded)| (name.to_owned(), loaded))
                .into()
        );
        std::os::unix::fs::symlink(
            "/dev/null",
            root.join("etc/systemd/system/benchlight.service.d/30-off.conf"),
        )
        .unwrap();
        assert_eq!(credentials(root).len(), 5, "a drop-in that is switched off");
    }
}

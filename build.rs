//! Tells `--version` which commit a release was built from, without a further crate.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BENCHLIGHT_BUILD");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // A packager without the repository names the build. A debug build names none: it would be compiled anew after each commit.
    let build = std::env::var("BENCHLIGHT_BUILD").ok().or_else(|| {
        if release {
            commit()
        } else {
            Some("debug".to_owned())
        }
    });
    println!(
        "cargo::rustc-env=BENCHLIGHT_BUILD={}",
        build.as_deref().unwrap_or("unknown")
    );
}

fn commit() -> Option<String> {
    // A branch's commit stands in its own file or among the packed ones. A file that is not there would count as changed each time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for file in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            .filter(|path| std::path::Path::new(path).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

//! The page's files, in the binary, with what a browser needs to know whether it has them.

use std::sync::LazyLock;

use ring::digest::{SHA256, digest};

use crate::VERSION;

/// What stands in `index.html` for the build.
const BUILD_PLACE: &str = "@BUILD@";

/// One file of the page.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) etag: String,
}

/// All files, and the name of their build: the version, and the beginning of a hash over all of them.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) build: String,
    files: Vec<Asset>,
}

macro_rules! shipped {
    ($($path:literal $kind:literal $file:literal,)*) => {
        const SHIPPED: &[(&str, &str, &str)] = &[$(($path, $kind, include_str!(concat!("assets/", $file))),)*];
    };
}
shipped! {
    "/" "text/html; charset=utf-8" "index.html",
    "/page.css" "text/css; charset=utf-8" "page.css",
    "/page.js" "text/javascript; charset=utf-8" "page.js",
    "/icon.svg" "image/svg+xml" "icon.svg",
    "/lang/en.json" "application/json" "lang/en.json",
    "/lang/de.json" "application/json" "lang/de.json",
    "/lang/es.json" "application/json" "lang/es.json",
    "/lang/fr.json" "application/json" "lang/fr.json",
    "/lang/pl.json" "application/json" "lang/pl.json",
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let all: String = SHIPPED.iter().map(|(.., text)| *text).collect();
    let build = format!("{VERSION}-{}", hash(all.as_bytes(), 3));
    let file = |(path, kind, text): &(&'static str, &'static str, &'static str)| {
        let bytes = lean(text).replace(BUILD_PLACE, &build).into_bytes();
        Asset {
            path,
            kind,
            etag: format!("\"{}\"", hash(&bytes, 8)),
            bytes,
        }
    };
    Assets {
        files: SHIPPED.iter().map(file).collect(),
        build,
    }
});

/// Without the indentation and the comments that fill a line: nobody loads them.
fn lean(text: &str) -> String {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The first bytes of the hash, in hex.
fn hash(bytes: &[u8], first: usize) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .take(first)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Those of this program.
pub(super) fn assets() -> &'static Assets {
    &ASSETS
}

impl Assets {
    pub(super) fn find(&self, path: &str) -> Option<&Asset> {
        self.files.iter().find(|asset| asset.path == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_under_60_kb_with_any_one_language() {
        let (languages, page): (Vec<_>, Vec<_>) = ASSETS
            .files
            .iter()
            .partition(|file| file.path.starts_with("/lang/"));
        let page: usize = page.iter().map(|file| file.bytes.len()).sum();
        assert_eq!(languages.len(), 5);
        for language in languages {
            let bytes = page + language.bytes.len();
            assert!(bytes < 60_000, "{}: {bytes} bytes", language.path);
        }
    }

    #[test]
    fn what_is_loaded_has_every_line_of_the_script_but_its_comments() {
        let script = "\t// why\n\tconst a = \"http://b\"; // c\n\n";
        assert_eq!(lean(script), "const a = \"http://b\"; // c\n\n");
    }
}

//! The faults that can be switched on in a simulator, and for which requests.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use super::listing::ListFault;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// That status: `500`, `401`, `403`, ..
    Status(u16),
    /// That status with that text: `403:T_C_NOT_SIGNED`. A text that begins with `<` is HTML, with `{` JSON.
    Say {
        /// The status.
        status: u16,
        /// The body.
        text: String,
    },
    /// 429: `429`, with `Retry-After` as `429:30` or `429:<HTTP date>`.
    TooMany {
        /// The header's text.
        retry_after: Option<String>,
    },
    /// A page of HTML with status 200, as a guest network gives it: `html`.
    Html,
    /// JSON that ends half-way, in a complete reply: `cut-json`.
    CutJson,
    /// A body that ends before its announced length: `cut-body`.
    CutBody,
    /// A body of that many bytes: `huge:100000000`.
    Huge {
        /// Its size.
        bytes: u64,
    },
    /// Nothing for this long, then the true answer: `silence:8s`.
    Silence(Duration),
    /// The true answer so much later: `delay:200ms`.
    Delay(Duration),
    /// The connection is reset: `reset`.
    Reset,
    /// The connection is closed without a reply: `drop`.
    Drop,
    /// A redirect to another place: `redirect:http://127.0.0.1:9`.
    Redirect(String),
    /// The true answer with that text as its `Date`: `date:Sun, 06 Nov 1994 08:49:37 GMT`.
    Date(String),
    /// The true answer, dated by a clock that is so far off: `clock:-20h`.
    Clock(SignedDuration),
    /// The true answer under that status: `as:206`.
    As(u16),
    /// The true answer with one more header: `header:Age: 72000`.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The true answer, every FROM in its body written as TO: `replace:"count":1>"count":3`.
    Replace {
        /// What the true answer says; without a `>`.
        from: String,
        /// What it says instead.
        to: String,
    },
    /// A list that is not what it was a page before, or what it says: `list:shift=-1`, `list:total=1`, `list:keep=100`, `list:stuck`.
    List(ListFault),
}

/// For what a fault counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every request.
    Everything,
    /// Requests to that path (a trailing slash does not count).
    Path(String),
    /// Requests that mention that serial number in path, query or body.
    Serial(String),
}

/// One fault, switched on. As text: `[SERIAL= or /path=]EFFECT[#FIRST][*TIMES]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// For what.
    pub scope: Scope,
    /// What.
    pub effect: Effect,
    /// So many requests that it fits pass unharmed before: `#3` lets two pass.
    pub spared: u32,
    /// For this many requests; `None`: until it is switched off.
    pub times: Option<u32>,
}

impl Switch {
    /// From the first request on, until it is switched off.
    pub const fn new(scope: Scope, effect: Effect) -> Self {
        Self {
            scope,
            effect,
            spared: 0,
            times: None,
        }
    }
}

/// The text is not a [`Switch`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a fault: use [SERIAL= or /path=] before one of 500, 401, 403:TEXT, 429, 429:30, html, cut-json, cut-body, huge:BYTES, \
     silence:8s, delay:200ms, reset, drop, redirect:URL, date:TEXT, clock:-20h, as:206, header:NAME: VALUE, \
     replace:FROM>TO, list:shift=-1,total=1,keep=100,stuck (one or more of them), \
     then #N to begin with the Nth request, and *N for N requests only"
)]
pub struct NotAFault(String);

impl FromStr for Switch {
    type Err = NotAFault;

    fn from_str(text: &str) -> Result<Self, NotAFault> {
        let fault = || NotAFault(text.to_owned());
        let (scope, rest) = match text.trim().split_once('=') {
            Some((path, rest)) if path.starts_with('/') => {
                (Scope::Path(path.trim_end_matches('/').to_owned()), rest)
            }
            Some((serial, rest))
                if !serial.is_empty()
                    && serial.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                (Scope::Serial(serial.to_ascii_uppercase()), rest)
            }
            _ => (Scope::Everything, text.trim()),
        };
        let (rest, times) = match rest.rsplit_once('*') {
            Some((rest, times)) => (rest, Some(times.parse().map_err(|_| fault())?)),
            None => (rest, None),
        };
        // A text of an effect may contain a `#`; a number alone behind it is never part of one.
        let first = rest
            .rsplit_once('#')
            .and_then(|(effect, first)| Some((effect, first.parse::<u32>().ok()?)));
        let (effect, first) = first.unwrap_or((rest, 1));
        Ok(Self {
            scope,
            effect: effect.parse().map_err(|_| fault())?,
            spared: first.checked_sub(1).ok_or_else(fault)?,
            times,
        })
    }
}

impl FromStr for Effect {
    type Err = NotAFault;

    fn from_str(text: &str) -> Result<Self, NotAFault> {
        let fault = || NotAFault(text.to_owned());
        let (word, value) = text
            .split_once(':')
            .map_or((text, None), |(word, value)| (word, Some(value)));
        let duration = || {
            value
                .and_then(|value| value.parse::<SignedDuration>().ok())
                .and_then(|time| Duration::try_from(time).ok())
                .ok_or_else(fault)
        };
        match (word, value) {
            ("429", value) => Ok(Self::TooMany {
                retry_after: value.map(str::to_owned),
            }),
            ("html", None) => Ok(Self::Html),
            ("list", Some(text)) => text.parse().map(Self::List).map_err(|()| fault()),
            ("cut-json", None) => Ok(Self::CutJson),
            ("cut-body", None) => Ok(Self::CutBody),
            ("huge", Some(bytes)) => Ok(Self::Huge {
                bytes: bytes.parse().map_err(|_| fault())?,
            }),
            ("silence", Some(_)) => Ok(Self::Silence(duration()?)),
            ("delay", Some(_)) => Ok(Self::Delay(duration()?)),
            ("reset", None) => Ok(Self::Reset),
            ("drop", None) => Ok(Self::Drop),
            ("redirect", Some(target)) => Ok(Self::Redirect(target.to_owned())),
            ("date", Some(date)) => Ok(Self::Date(date.to_owned())),
            ("clock", Some(off)) => off.parse().map(Self::Clock).map_err(|_| fault()),
            ("as", Some(status)) => status
                .parse()
                .ok()
                .filter(|status| (200..=599).contains(status))
                .map(Self::As)
                .ok_or_else(fault),
            ("header", Some(text)) => {
                let (name, value) = text
                    .split_once(':')
                    .filter(|(name, _)| !name.is_empty())
                    .ok_or_else(fault)?;
                Ok(Self::Header {
                    name: name.to_owned(),
                    value: value.trim().to_owned(),
                })
            }
            ("replace", Some(texts)) => {
                let (from, to) = texts
                    .split_once('>')
                    .filter(|(from, _)| !from.is_empty())
                    .ok_or_else(fault)?;
                Ok(Self::Replace {
                    from: from.to_owned(),
                    to: to.to_owned(),
                })
            }
            (status, text) => of_status(status, text).ok_or_else(fault),
        }
    }
}

/// A refusal or a failure, with a text of its own or without.
fn of_status(status: &str, text: Option<&str>) -> Option<Effect> {
    let status = status
        .parse()
        .ok()
        .filter(|status| (400..=599).contains(status))?;
    Some(text.map_or(Effect::Status(status), |text| Effect::Say {
        status,
        text: text.to_owned(),
    }))
}

impl fmt::Display for Switch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Everything => {}
            Scope::Path(path) => write!(out, "{path}=")?,
            Scope::Serial(serial) => write!(out, "{serial}=")?,
        }
        write!(out, "{}", self.effect)?;
        if self.spared > 0 {
            write!(out, "#{}", self.spared.saturating_add(1))?;
        }
        self.times.map_or(Ok(()), |times| write!(out, "*{times}"))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(out, "{status}"),
            Self::Say { status, text } => write!(out, "{status}:{text}"),
            Self::TooMany { retry_after: None } => out.write_str("429"),
            Self::TooMany {
                retry_after: Some(text),
            } => write!(out, "429:{text}"),
            Self::Html => out.write_str("html"),
            Self::CutJson => out.write_str("cut-json"),
            Self::CutBody => out.write_str("cut-body"),
            Self::Huge { bytes } => write!(out, "huge:{bytes}"),
            Self::Silence(time) => write!(out, "silence:{}ms", time.as_millis()),
            Self::Delay(time) => write!(out, "delay:{}ms", time.as_millis()),
            Self::Reset => out.write_str("reset"),
            Self::Drop => out.write_str("drop"),
            Self::Redirect(target) => write!(out, "redirect:{target}"),
            Self::Date(text) => write!(out, "date:{text}"),
            Self::Clock(off) => write!(out, "clock:{}s", off.as_secs()),
            Self::As(status) => write!(out, "as:{status}"),
            Self::Header { name, value } => write!(out, "header:{name}: {value}"),
            Self::Replace { from, to } => write!(out, "replace:{from}>{to}"),
            Self::List(fault) => write!(out, "list:{fault}"),
        }
    }
}

/// The switches of one simulator. Cheap to clone; the clones are one board.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    /// Faults of single boxes of the stock: they cannot be switched off, and no other fault hides them.
    of_boxes: Vec<Switch>,
    /// What was switched on.
    switched: Vec<Switch>,
}

impl Faults {
    /// A board with the faults that the stock's own boxes have.
    pub fn new(of_boxes: Vec<Switch>) -> Self {
        Self(Arc::new(Mutex::new(Board {
            of_boxes,
            switched: Vec::new(),
        })))
    }

    /// Switches a fault on for every request.
    pub fn all(&self, effect: Effect) {
        self.add(Switch::new(Scope::Everything, effect));
    }

    /// Switches a fault on for requests that mention a serial number.
    pub fn serial(&self, serial: &str, effect: Effect) {
        self.add(Switch::new(
            Scope::Serial(serial.to_ascii_uppercase()),
            effect,
        ));
    }

    /// Switches a fault on for a path.
    pub fn path(&self, path: &str, effect: Effect) {
        self.add(Switch::new(
            Scope::Path(path.trim_end_matches('/').to_owned()),
            effect,
        ));
    }

    /// Switches a fault on. The first that fits a request counts.
    pub fn add(&self, switch: Switch) {
        self.with(|board| board.switched.push(switch));
    }

    /// These faults and no others are switched on.
    pub fn replace(&self, switches: Vec<Switch>) {
        self.with(|board| board.switched = switches);
    }

    /// As [`Self::replace`], with the text of a request: a JSON array of faults, or one fault a line.
    ///
    /// # Errors
    /// What is wrong with the text. Nothing has changed then.
    pub(super) fn replace_by(&self, body: &[u8]) -> Result<(), String> {
        const FORM: &str = "send a JSON array of faults, such as [\"500\", \"C02XK0AAJG5H=429:30*2\"], or one fault a line";
        let text = std::str::from_utf8(body)
            .map_err(|_| format!("that is not UTF-8 text: {FORM}"))?
            .trim();
        let faults: Vec<String> = if text.starts_with(['[', '{', '"']) {
            serde_json::from_str(text).map_err(|error| format!("{error}: {FORM}"))?
        } else {
            text.lines()
                .map(str::to_owned)
                .filter(|line| !line.trim().is_empty())
                .collect()
        };
        let switches = faults
            .iter()
            .map(|fault| fault.parse().map_err(|error: NotAFault| error.to_string()))
            .collect::<Result<_, _>>()?;
        self.replace(switches);
        Ok(())
    }

    /// What was switched on is off again.
    pub fn clear(&self) {
        self.replace(Vec::new());
    }

    /// The faults for one request, the outermost first: the box's own, then the first one switched on that fits, counted off if it
    /// has a number.
    pub(super) fn effects_on(&self, path: &str, asked: &str, body: &[u8]) -> [Option<Effect>; 2] {
        let mentions = |serial: &str| {
            asked.to_ascii_uppercase().contains(serial)
                || String::from_utf8_lossy(body)
                    .to_ascii_uppercase()
                    .contains(serial)
        };
        let fits = |switch: &Switch| {
            switch.times != Some(0)
                && match &switch.scope {
                    Scope::Everything => true,
                    Scope::Path(wanted) => path.trim_end_matches('/') == wanted,
                    Scope::Serial(serial) => mentions(serial),
                }
        };
        let first = |switches: &mut Vec<Switch>| {
            for switch in switches.iter_mut().filter(|switch| fits(switch)) {
                if let Some(spared) = switch.spared.checked_sub(1) {
                    switch.spared = spared;
                    continue;
                }
                switch.times = switch.times.map(|times| times - 1);
                return Some(switch.effect.clone());
            }
            None
        };
        self.with(|board| [first(&mut board.of_boxes), first(&mut board.switched)])
    }

    fn with<T>(&self, work: impl FnOnce(&mut Board) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|board| {
            board
                .switched
                .iter()
                .try_for_each(|switch| writeln!(out, "{switch}"))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_fault_is_written_as_it_is_read() {
        for text in [
            "500",
            "403*3",
            "429",
            "429:30",
            "429:Sun, 06 Nov 1994 08:49:37 GMT",
            "html",
            "cut-json",
            "cut-body",
            "huge:100000000",
            "silence:8000ms",
            "delay:200ms*1",
            "reset",
            "drop",
            "redirect:http://127.0.0.1:9",
            "redirect:http://127.0.0.1:9/?x=1",
            "date:Sun, 06 Nov 1994 08:49:37 GMT",
            "clock:-72000s",
            "as:206",
            "header:Age: 72000",
            "C02XK0AAJG5H=header:Date: Sun, 06 Nov 1994 08:49:37 GMT*1",
            r#"replace:"count":1>"count":3"#,
            "replace:a>",
            "C02XK0AAJG5H=401",
            "/api/v1/devices=reset*2",
            "/api/v1/devices=429:3600#3*1",
            "redirect:http://127.0.0.1:9/#top",
            "cut-json#2",
            "list:shift=-1#2",
            "list:shift=1,total=-1*5",
            "list:keep=0",
            "/server/devices=list:stuck#2",
        ] {
            assert_eq!(text.parse::<Switch>().unwrap().to_string(), text);
        }
        let short: Switch = "silence:8s".parse().unwrap();
        assert_eq!(short.effect, Effect::Silence(Duration::from_secs(8)));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_words_that_are() {
        for text in [
            "",
            "200",
            "999",
            "5xx",
            "html:1",
            "huge",
            "huge:big",
            "silence",
            "silence:soon",
            "reset*",
            "reset*x",
            "redirect",
            "replace:a",
            "replace:>a",
            "C02X=",
            "500#0",
            "500#x",
            "list",
            "list:",
            "list:shift",
            "list:shift=0",
            "list:shift=one",
            "list:keep=-1",
            "list:sorted",
            "list:stuck,stuck",
        ] {
            let error = text.parse::<Switch>().unwrap_err();
            assert!(error.to_string().contains("cut-json"), "{text}");
        }
    }

    #[test]
    fn the_first_switch_that_fits_counts_and_is_used_up() {
        let faults = Faults::default();
        faults.replace(
            ["C02X=500*1", "/ask=403", "reset"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
        );
        let effect = |path: &str, asked: &str, body: &[u8]| {
            let [of_box, switched] = faults.effects_on(path, asked, body);
            assert_eq!(of_box, None);
            switched
        };
        assert_eq!(
            effect("/other", "/other?serial=c02x", b""),
            Some(Effect::Status(500))
        );
        assert_eq!(
            effect("/other", "/other?serial=c02x", b""),
            Some(Effect::Reset),
            "used up"
        );
        assert_eq!(effect("/ask/", "/ask/", b"{}"), Some(Effect::Status(403)));
        faults.replace(vec!["C02X=500".parse().unwrap()]);
        assert_eq!(
            effect("/devices", "/devices", br#"{"devices":["C02X"]}"#),
            Some(Effect::Status(500)),
            "in a body"
        );
        faults.clear();
        assert_eq!(effect("/ask", "/ask", b""), None);
    }

    #[test]
    fn a_switch_spares_the_requests_before_its_first() {
        let faults = Faults::default();
        faults.replace_by(b"/list=500#3*1\n/list=403*3").unwrap();
        let effects: Vec<_> = (0..5)
            .map(|_| {
                assert_eq!(faults.effects_on("/other", "/other", b"")[1], None);
                faults.effects_on("/list", "/list?page=1", b"")[1].clone()
            })
            .collect();
        let [server, denied] = [500, 403].map(|status| Some(Effect::Status(status)));
        assert_eq!(
            effects,
            [denied.clone(), denied.clone(), server, denied, None]
        );
    }

    #[test]
    fn faults_are_taken_as_json_or_as_lines_and_a_wrong_list_changes_nothing() {
        let faults = Faults::default();
        for (body, shown) in [
            (
                r#"["C02X=500", "delay:200ms*2"]"#,
                "C02X=500\ndelay:200ms*2\n",
            ),
            ("\n[]\n", ""),
            ("C02X=500\n\n  reset \r\n", "C02X=500\nreset\n"),
            ("", ""),
            ("403:{\"code\":1}", "403:{\"code\":1}\n"),
        ] {
            faults.replace_by(body.as_bytes()).unwrap();
            assert_eq!(faults.to_string(), shown, "{body}");
        }
        for (body, words) in [
            (r#"{"fault":"500"}"#, "send a JSON array"),
            (r#"["500""#, "send a JSON array"),
            ("[500]", "send a JSON array"),
            (r#""500""#, "send a JSON array"),
            (r#"["500", "gremlins"]"#, "\"gremlins\" is not a fault"),
            ("500\ngremlins", "\"gremlins\" is not a fault"),
        ] {
            let error = faults.replace_by(body.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
        assert!(faults.replace_by(b"\xff").unwrap_err().contains("UTF-8"));
        assert_eq!(faults.to_string(), "403:{\"code\":1}\n", "as before");
    }

    #[test]
    fn a_boxs_own_fault_is_there_whatever_is_switched() {
        let faults = Faults::new(vec!["C02X=date:yesterday".parse().unwrap()]);
        let effects = || faults.effects_on("/ask", "/ask?serial=C02X", b"");
        let own = || Some(Effect::Date("yesterday".to_owned()));
        for body in [r#"["delay:1ms"]"#, r#"["C02X=date:today"]"#, "[]"] {
            faults.replace_by(body.as_bytes()).unwrap();
            assert_eq!(effects()[0], own(), "{body}");
        }
        faults.replace_by(b"500").unwrap();
        assert_eq!(effects(), [own(), Some(Effect::Status(500))]);
        faults.clear();
        assert_eq!(effects(), [own(), None]);
    }
}

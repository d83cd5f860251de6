//! What the demo says of itself: a first screen of 80 by 24, the list of all boxes, and help.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    indicator::lines,
    reason::{Reason, Signal},
    simulator::stock::{self, DemoBox},
    web,
};

/// Shows all boxes.
pub(super) const LIST: &str = "list";
/// Shows what can be typed.
pub(super) const HELP: &str = "help";
/// Lets all services die.
pub(super) const OUTAGE: &str = "outage";

/// One box for each thing that a lamp can say first.
const FIRST: [&str; 5] = [
    "C02XK0AAJG5H",
    "C02RM8JJJG5N",
    "C02WS9KKJG5P",
    "DEMOSOON0003",
    "C02CX1WWJG61",
];
/// The IMEI of a box.
const WRONG_BARCODE: (&str, &str) = ("490154203237518", "the IMEI of a box: the wrong barcode");

/// Where the demo's parts are.
pub(super) struct Screens {
    /// As it was typed.
    pub(super) program: String,
    pub(super) config: PathBuf,
    pub(super) broker: SocketAddr,
    /// On 127.0.0.1.
    pub(super) page_port: u16,
    pub(super) boxes: Boxes,
}

/// The boxes on the bench.
#[derive(Clone, Copy)]
pub(super) struct Boxes {
    /// Those that get another reason than with Kandji, and that reason.
    pub(super) differs: &'static [(&'static str, &'static str)],
}

impl Screens {
    /// It leaves the last two rows to what is typed and to the lamps.
    pub(super) fn first(&self) -> String {
        let boxes: String = self.boxes.first().map(|one| self.boxes.row(one)).collect();
        format!(
            "Benchlight demo: the whole station, its services simulated, with its own broker.\n\
             The page at the bench: http://127.0.0.1:{}/\n\
             \n\
             Boxes to scan, and what the lamp says first:\n\
             {boxes}{}\n\
             From another terminal:\n{}\n\
             {LIST}: all boxes   {OUTAGE}: the services die for a minute   {HELP}   Ctrl-D: end\n\
             Type a serial number and press Enter, as a scanner does.\n",
            self.page_port,
            wrong_barcode(),
            self.commands(),
        )
    }

    /// What can be typed, and what runs beside it.
    pub(super) fn help(&self) -> String {
        format!(
            "Type a serial number and press Enter. Each line is a scan, except:\n\
             \x20 {LIST:<8} all boxes, and what the lamp says first\n\
             \x20 {OUTAGE:<8} the services die for a minute; copies of their lists answer, if any\n\
             \x20 {HELP:<8} this text\n\
             Ctrl-D or Ctrl-C ends. What a lamp, a verdict or a reason means:\n\
             \x20 {} explain not_found\n\
             Beside the demo, from another terminal:\n{}",
            self.program,
            self.commands()
        )
    }

    fn commands(&self) -> String {
        let Self {
            program,
            config,
            broker,
            ..
        } = self;
        format!(
            "\x20 C={}\n\
             \x20 {program} lookup C02XK0AAJG5H --config $C\n\
             \x20 {program} journal why C02XK0AAJG5H --config $C\n\
             \x20 {program} doctor --config $C\n\
             \x20 mosquitto_sub -h {} -p {} -V 5 -t 'benchlight/#' -v\n",
            config.display(),
            broker.ip(),
            broker.port(),
        )
    }
}

impl Boxes {
    /// All of them.
    pub(super) fn list(self) -> String {
        let boxes: String = stock::DEMO.iter().map(|one| self.row(one)).collect();
        boxes + &wrong_barcode()
    }

    fn first(self) -> impl Iterator<Item = &'static DemoBox> {
        let first = |serial: &&str| stock::DEMO.iter().find(|one| one.serial == *serial);
        FIRST.iter().filter_map(first)
    }

    /// Those of the first screen, for the page.
    pub(super) fn to_click(self) -> Vec<web::DemoBox> {
        let boxes = self.first();
        let boxes = boxes.map(|one| (one.serial, one.story, self.first_signal(one)));
        let (code, what) = WRONG_BARCODE;
        boxes
            .chain([(code, what, Signal::Rescan)])
            .map(|(serial, what, signal)| web::DemoBox {
                serial: serial.to_owned(),
                what: what.to_owned(),
                signal: signal.code(),
            })
            .collect()
    }

    fn first_signal(self, one: &DemoBox) -> Signal {
        let other = self
            .differs
            .iter()
            .find(|(serial, _)| *serial == one.serial);
        let expected = other.map_or(one.expected, |(_, reason)| reason);
        Reason::from_code(expected).map_or(Signal::None, |reason| reason.verdict().signal())
    }

    fn row(self, one: &DemoBox) -> String {
        let (lamp, _) = lines::lamp(self.first_signal(one));
        format!("  {lamp:<6} {:<16} {}\n", one.serial, one.story)
    }
}

fn wrong_barcode() -> String {
    let (lamp, _) = lines::lamp(Signal::Rescan);
    let (code, what) = WRONG_BARCODE;
    format!("  {lamp:<6} {code:<16} {what}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screens() -> Screens {
        Screens {
            program: "target/release/benchlight".to_owned(),
            config: "/tmp/benchlight-0123abcd/demo.toml".into(),
            broker: SocketAddr::from(([127, 0, 0, 1], 45_797)),
            page_port: 8480,
            boxes: Boxes { differs: &[] },
        }
    }

    #[test]
    fn the_first_screen_fits_a_small_terminal_and_the_prompt_is_last() {
        let first = screens().first();
        assert!(first.lines().count() <= 22, "{first}");
        for text in [first.clone(), screens().help(), screens().boxes.list()] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
        assert!(first.contains("  green  C02XK0AAJG5H     healthy new stock\n"));
        let prompt = first.lines().last();
        assert!(prompt.is_some_and(|line| line.starts_with("Type a serial number")));
        for serial in FIRST {
            assert!(first.contains(serial), "{serial} is a box of the demo");
        }
    }

    #[test]
    fn the_first_boxes_show_every_answer_of_the_lamp() {
        let first = screens().first();
        for lamp in ["green", "red", "amber", "flash"] {
            assert!(first.contains(&format!("\n  {lamp:<6} ")), "{lamp}");
        }
    }
}

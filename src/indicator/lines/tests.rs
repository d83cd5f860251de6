//! Result lines: their form, hostile texts, and readers that are slow or gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Instant,
};

use proptest::prelude::*;

use super::*;

fn line() -> Line {
    Line {
        change: false,
        id: Uuid::from_u128(0x019a_b0c2_6d1e_7c3a_9f00_3f2b_6c1d_9e10),
        serial: Some("C02XK0AAJG5H".to_owned()),
        verdict: Verdict::Ready,
        reason: Reason::Assigned,
        message: Reason::Assigned.message(None),
    }
}

/// A writer that keeps what it gets, and waits for leave to take it.
struct Slow {
    written: Arc<Mutex<Vec<u8>>>,
    leave: Receiver<()>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.leave.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow() -> (Slow, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (leave, given) = mpsc::channel();
    let written = Arc::default();
    (Slow { written: Arc::clone(&written), leave: given }, leave, written)
}

#[test]
fn a_line_has_the_promised_form() {
    let id = "019ab0c2-6d1e-7c3a-9f00-3f2b6c1d9e10";
    assert_eq!(line().to_string(), format!("{id} C02XK0AAJG5H ready assigned The enrollment profile is Assigned."));
    let change = Line { change: true, verdict: Verdict::NotReady, reason: Reason::Released, message: Reason::Released.message(None), ..line() };
    assert!(change.to_string().starts_with(&format!("change {id} C02XK0AAJG5H not_ready released ")));
    let rescan = Line { serial: None, verdict: Verdict::Rescan, reason: Reason::Imei, message: Reason::Imei.message(None), ..line() };
    assert_eq!(rescan.to_string(), format!("{id} - rescan imei That is the IMEI."));
}

#[test]
fn a_message_cannot_steer_the_terminal_or_forge_a_line() {
    let hostile = Line { message: "gone\r\x1b[2K\u{9b}31m\nforged\u{202e}left\u{2028}\u{feff}\0\u{e0041}\u{fe0f}".to_owned(), ..line() };
    let text = hostile.to_string();
    assert!(text.ends_with("gone␍␛[2K\\u{9b}31m␊forged\\u{202e}left\\u{2028}\\u{feff}␀\\u{e0041}\\u{fe0f}"), "{text:?}");
}

proptest! {
    #[test]
    fn whatever_is_in_it_a_result_is_one_line_without_control_characters(message in any::<String>(), serial in any::<String>()) {
        let text = Line { message, serial: Some(serial), ..line() }.to_string();
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(text.lines().count(), 1);
    }
}

#[test]
fn every_line_is_written_before_the_end() {
    let (out, leave, written) = slow();
    let printer = Printer::on(out, 8).unwrap();
    for _ in 0..5 {
        printer.print(line());
        leave.send(()).unwrap();
    }
    assert!(printer.finish(Duration::from_secs(5)));
    assert_eq!(String::from_utf8(written.lock().unwrap().clone()).unwrap(), format!("{}\n", line()).repeat(5));
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up() {
    let (out, leave, _) = slow();
    let printer = Printer::on(out, 4).unwrap();
    let began = Instant::now();
    for _ in 0..1000 {
        printer.print(line());
    }
    assert!(!printer.finish(Duration::from_millis(50)), "and the end does not wait for it for long");
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(leave);
}

#[test]
fn a_reader_that_is_gone_holds_nobody_up() {
    let (out, leave, _) = slow();
    drop(leave);
    let printer = Printer::on(out, 4).unwrap();
    for _ in 0..100 {
        printer.print(line());
    }
    assert!(!printer.finish(Duration::from_secs(5)), "and it is said that lines were lost");
}

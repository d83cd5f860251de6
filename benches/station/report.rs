//! Prints figures: what, how much, and the promised limit.

use std::time::Duration;

/// The limit that a figure must meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Promise {
    Under(f64),
    AtLeast(f64),
    /// No limit; the figure explains another.
    Nothing,
}

#[derive(Debug, Default)]
pub struct Report {
    held: usize,
    promised: usize,
}

impl Report {
    /// Prints the command that makes the following figures.
    pub fn begin(&self, name: &str) {
        println!("\ncargo bench --bench station -- {name}");
    }

    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    pub fn figure(&mut self, what: &str, value: f64, unit: &str, promise: Promise) {
        let (promised, held) = match promise {
            Promise::Nothing => {
                println!("  {what:<58} {value:>10} {unit}", value = written(value));
                return;
            }
            Promise::Under(bound) => (
                format!("promised: under {} {unit}", written(bound)),
                value < bound,
            ),
            Promise::AtLeast(bound) => (
                format!("promised: {} {unit} or more", written(bound)),
                value >= bound,
            ),
        };
        self.promised += 1;
        self.held += usize::from(held);
        println!(
            "  {what:<58} {value:>10} {unit}   {promised}: {}",
            if held { "held" } else { "NOT HELD HERE" },
            value = written(value)
        );
    }

    pub fn end(&self) {
        println!(
            "\n{} of {} promises held on this machine",
            self.held, self.promised
        );
    }
}

fn written(value: f64) -> String {
    if value >= 1_000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// In milliseconds.
#[derive(Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(milliseconds(time));
    }

    /// The time that `percent` of all times do not exceed.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let place = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0[place]
    }

    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn median(&mut self) -> f64 {
        self.percentile(50)
    }

    pub fn longest(&mut self) -> f64 {
        self.percentile(100)
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and sizes here are far below 2^52"
)]
pub fn number(count: u64) -> f64 {
    count as f64
}

pub fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

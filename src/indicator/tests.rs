//! The lamps' test, the doctor's probe, and pins on a simulated chip where the kernel has one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stderr, reason = "a test that cannot run says why")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    held::Registry,
    recording::{Recording, Tape},
    *,
};

fn gpio() -> Gpio {
    Gpio {
        driver: Driver::Auto,
        chip: Chip::Auto,
        green: 17,
        red: 27,
        amber: Some(22),
        buzzer: Some(23),
        active_low: false,
        ready_hold: Duration::from_secs(3),
    }
}

fn held(recording: Recording) -> Held {
    let registry: &'static Registry = Box::leak(Box::new(Registry::new()));
    registry.hold(Output::Recording(recording))
}

#[tokio::test(start_paused = true)]
async fn a_test_lights_all_lamps_together_and_never_green_alone() {
    let tape = Tape::default();
    light_all(
        &held(Recording {
            tape: tape.clone(),
            ..Recording::default()
        }),
        Duration::from_secs(2),
    )
    .await
    .unwrap();
    let driven: Vec<Levels> = tape.all().into_iter().map(|(_, levels)| levels).collect();
    let all = Levels {
        green: true,
        red: true,
        amber: true,
        buzzer: true,
    };
    assert_eq!(
        &driven[..3],
        [
            all,
            Levels {
                buzzer: false,
                ..all
            },
            Levels::DARK
        ],
        "with a short tone, then dark"
    );
    assert!(driven.iter().all(|levels| levels.green == levels.red));
}

#[tokio::test(start_paused = true)]
async fn a_test_that_is_interrupted_leaves_dark_lamps() {
    let tape = Tape::default();
    let held = held(Recording {
        tape: tape.clone(),
        ..Recording::default()
    });
    let test = async move { light_all(&held, Duration::from_secs(60)).await };
    assert!(
        tokio::time::timeout(Duration::from_secs(1), test)
            .await
            .is_err()
    );
    assert_eq!(tape.last(), Some(Levels::DARK));
}

#[test]
fn the_probe_finds_a_lamp_that_stays_lit() {
    assert_eq!(probe_held(&held(Recording::default())), Ok(()));
    let shorted = Recording {
        reads_always: Some(Levels {
            green: true,
            ..Levels::DARK
        }),
        ..Recording::default()
    };
    let Err(LampState::Fault(words)) = probe_held(&held(shorted)) else {
        panic!("a green lamp that cannot be darkened is a fault")
    };
    assert!(words.contains("green"), "{words}");
}

#[test]
fn no_lamps_are_no_fault() {
    assert_eq!(probe(&Settings::None), Ok(None));
    assert_eq!(darken(&Settings::None), Ok(()));
}

#[test]
fn a_machine_without_the_chip_says_so() {
    for settings in [
        Gpio {
            driver: Driver::Gpiochip,
            chip: Chip::Label("no-such-chip".to_owned()),
            ..gpio()
        },
        Gpio {
            chip: Chip::Path(PathBuf::from("/dev/no-such-gpiochip")),
            ..gpio()
        },
        Gpio {
            driver: Driver::Gpiochip,
            chip: Chip::Path(PathBuf::from("/dev/null")),
            ..gpio()
        },
    ] {
        let state = probe(&Settings::Gpio(settings)).unwrap_err();
        assert_eq!(state.code(), "missing", "{state:?}");
        let words = state.problem().unwrap();
        assert!(
            words.contains("no-such") || words.contains("/dev/null"),
            "{words}"
        );
    }
    if !rppal::knows_this_pi() {
        assert_eq!(
            probe(&Settings::Gpio(Gpio {
                driver: Driver::Rppal,
                ..gpio()
            }))
            .unwrap_err()
            .code(),
            "missing"
        );
    }
}

#[test]
fn a_machine_without_lamps_runs_its_lane_and_tells_the_state() {
    let settings = Settings::Gpio(Gpio {
        driver: Driver::Gpiochip,
        chip: Chip::Label("no-such-chip".to_owned()),
        ..gpio()
    });
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let feed = LampFeed::dark(crate::runtime::clock::Boot::now());
            let (told, mut state) = watch::channel(LampState::Ok);
            let (stop, stopped) = watch::channel(false);
            let lane = tokio::spawn(run(
                settings,
                Name::new("left").unwrap(),
                Duration::from_secs(4),
                feed,
                told,
                stopped,
                Pulse::default(),
            ));
            state
                .wait_for(|state| state.code() == "missing")
                .await
                .unwrap();
            stop.send_replace(true);
            lane.await.unwrap();
        });
}

/// A chip of the kernel's simulator, with the label and the line names of a Pi.
struct Simulated {
    folder: PathBuf,
    lines: PathBuf,
}

impl Simulated {
    fn new(name: &str, label: &str) -> io::Result<Self> {
        let folder = Path::new("/sys/kernel/config/gpio-sim").join(name);
        let bank = folder.join("bank0");
        fs::create_dir(&folder)?;
        fs::create_dir(&bank)?;
        fs::write(bank.join("num_lines"), "28")?;
        fs::write(bank.join("label"), label)?;
        for pin in [17, 22, 23, 27] {
            fs::create_dir(bank.join(format!("line{pin}")))?;
            fs::write(bank.join(format!("line{pin}/name")), format!("GPIO{pin}"))?;
        }
        fs::write(folder.join("live"), "1")?;
        let read = |path: PathBuf| Ok::<_, io::Error>(fs::read_to_string(path)?.trim().to_owned());
        let lines = Path::new("/sys/devices/platform")
            .join(read(folder.join("dev_name"))?)
            .join(read(bank.join("chip_name"))?);
        Ok(Self { folder, lines })
    }

    /// The level as the kernel sees it.
    fn level(&self, pin: u8) -> u8 {
        fs::read_to_string(self.lines.join(format!("sim_gpio{pin}/value")))
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("live"), "0");
        for pin in [17, 22, 23, 27] {
            let _ = fs::remove_dir(self.folder.join(format!("bank0/line{pin}")));
        }
        let _ = fs::remove_dir(self.folder.join("bank0"));
        let _ = fs::remove_dir(&self.folder);
    }
}

/// One test for all of it: the simulated chip carries a Pi's label, and two of them at once would be ambiguous.
#[test]
fn pins_on_a_simulated_chip_carry_the_levels() {
    if !Path::new("/sys/kernel/config/gpio-sim").is_dir() {
        eprintln!(
            "SKIPPED: this kernel has no gpio-sim (modprobe gpio-sim, mount configfs): pins were not driven"
        );
        return;
    }
    let chip = Simulated::new("benchlight-pi", "pinctrl-bcm2835").unwrap();
    for driver in [Driver::Auto, Driver::Gpiochip] {
        let settings = Settings::Gpio(Gpio { driver, ..gpio() });
        let mut output = Output::open(&settings, "left").unwrap().unwrap();
        assert_eq!(
            [17, 27, 22, 23].map(|pin| chip.level(pin)),
            [0; 4],
            "dark at the opening"
        );
        output
            .show(
                Levels {
                    green: true,
                    ..Levels::DARK
                },
                None,
            )
            .unwrap();
        assert_eq!([17, 27, 22, 23].map(|pin| chip.level(pin)), [1, 0, 0, 0]);
        output
            .show(
                Levels {
                    red: true,
                    buzzer: true,
                    ..Levels::DARK
                },
                None,
            )
            .unwrap();
        assert_eq!([17, 27, 22, 23].map(|pin| chip.level(pin)), [0, 1, 0, 1]);
        assert_eq!(
            output.read_back(),
            Ok(Levels {
                red: true,
                buzzer: true,
                ..Levels::DARK
            })
        );
        let Err(LampState::Busy(words)) = probe(&settings) else {
            panic!("the line is held")
        };
        assert!(
            words.contains("GPIO17") && words.contains("benchlight"),
            "{words}"
        );
        assert_eq!(
            look(&settings),
            Ok(()),
            "an agent's own lines are no trouble"
        );
        drop(output);
        assert_eq!(
            probe(&settings),
            Ok(Some("gpiochip")),
            "a freed line can be had again"
        );
        assert_eq!([17, 27, 22, 23].map(|pin| chip.level(pin)), [0; 4]);
    }
    let mut low = Output::open(
        &Settings::Gpio(Gpio {
            active_low: true,
            ..gpio()
        }),
        "left",
    )
    .unwrap()
    .unwrap();
    assert_eq!(
        [17, 27, 22, 23].map(|pin| chip.level(pin)),
        [1; 4],
        "active low: dark is high"
    );
    low.show(
        Levels {
            green: true,
            ..Levels::DARK
        },
        None,
    )
    .unwrap();
    assert_eq!([17, 27, 22, 23].map(|pin| chip.level(pin)), [0, 1, 1, 1]);
    drop(low);
    assert_eq!(
        probe(&Settings::Gpio(Gpio {
            green: 40,
            ..gpio()
        }))
        .unwrap_err()
        .code(),
        "missing",
        "a line that the chip does not have"
    );
    assert_eq!(
        look(&Settings::Gpio(Gpio {
            chip: Chip::Label("nobody".to_owned()),
            ..gpio()
        }))
        .unwrap_err()
        .code(),
        "missing"
    );
    drop(chip);

    let named = Simulated::new("benchlight-named", "some-other-label").unwrap();
    let by_names = Output::open(&Settings::Gpio(gpio()), "left").unwrap();
    assert!(
        by_names.is_some(),
        "an unknown chip is found by its lines' names"
    );
    drop(by_names);
    let twin = Simulated::new("benchlight-twin", "some-other-label").unwrap();
    let Err(LampState::Missing(words)) = probe(&Settings::Gpio(gpio())) else {
        panic!("two chips fit")
    };
    assert!(words.contains("more than one"), "{words}");
    drop((named, twin));
}

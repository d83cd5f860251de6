//! Arbitrary text, and the shipped file with arbitrary damage, is read without a panic, and every problem can be shown.

use proptest::prelude::*;

use super::*;

const SHIPPED: &str = include_str!("../../../config/benchlight.toml");

fn survives(text: &str) {
    if let Err(problems) = check(text) {
        assert!(
            !problems.list().is_empty(),
            "refused without a word: {text:?}"
        );
        let shown = problems.to_string();
        assert!(
            problems
                .list()
                .iter()
                .all(|problem| shown.contains(problem.message()) && !problem.remedy().is_empty())
        );
    }
}

/// The shipped file with every setting switched on or off at random.
fn damaged() -> impl Strategy<Value = String> {
    let lines = SHIPPED.lines().count();
    (
        prop::collection::vec(0..6_u8, lines),
        prop::collection::vec((0..lines, ".{0,12}"), 0..4),
    )
        .prop_map(|(fates, inserts)| {
            let mut text = String::new();
            for (number, (line, fate)) in SHIPPED.lines().zip(fates).enumerate() {
                let line = match fate {
                    0 => "",
                    1 | 2 => line.trim_start_matches('#'),
                    _ => line,
                };
                text.push_str(line);
                for (_, insert) in inserts.iter().filter(|(at, _)| *at == number) {
                    text.push_str(insert);
                }
                text.push('\n');
            }
            text
        })
}

proptest! {
    #[test]
    fn any_text(text in "(?s).{0,200}") {
        survives(&text);
    }

    #[test]
    fn anything_like_toml(lines in prop::collection::vec(r#"(\[{1,2}[a-z]{0,8}\]{1,2}|(site|name|kind|url|lane|green|pause|require|indicator|tokens) = ("[ -~]{0,12}"|-?[0-9]{1,12}|true|\[\]|\{\}|\["a", 1\]|1979-05-27))"#, 0..24)) {
        survives(&lines.join("\n"));
    }

    #[test]
    fn the_shipped_file_damaged(text in damaged()) {
        survives(&text);
    }
}

#[test]
fn deep_nesting_is_refused() {
    survives(&format!("a = {}", "[".repeat(10_000)));
    survives(&format!("a = {}", "{a=".repeat(10_000)));
    survives(&"[a.b.c.d]\n".repeat(2_000));
    survives(&vec!["a"; 20_000].join("."));
}

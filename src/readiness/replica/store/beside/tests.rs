#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::tests::{Rig, at, row, rows, serial};
use super::*;
use crate::{readiness::replica::store::Held, runtime::clock::Boot};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[tokio::test]
async fn a_survey_and_a_look_up_beside_the_agent_see_what_it_holds_and_change_nothing() {
    let rig = Rig::new();
    rig.fill(10, &rows(3)).await;
    rig.fill(
        20,
        &[row("1", "C02XK0AAJG5H", "a"), row("2", "C02XK0AAJG6J", "b")],
    )
    .await;
    rig.struck("C02XK0AAJG6J", at(21, 0));
    rig.settled().await;
    let before = fs::read(rig.path()).unwrap();
    let found = survey(&rig.path()).unwrap();
    let of_kandji = found.sources.get(&name("kandji")).unwrap();
    assert_eq!((of_kandji.rows, of_kandji.complete.unwrap().rows), (2, 2));
    assert!(found.bytes > 0);
    let beside = Store::beside(&rig.path()).unwrap();
    let serials = ["C02XK0AAJG5H", "C02XK0AAJG6J", "C02XK0AAJG7K"].map(serial);
    let held = beside
        .look_up(&name("kandji"), &rig.credential, &serials)
        .unwrap()
        .held;
    assert!(matches!(
        held.as_slice(),
        [Held::Rows(_), Held::Doubted, Held::Nothing]
    ));
    // What a command hears is not the agent's business.
    beside.strike(&name("kandji"), &serial("C02XK0AAJG5H"), Boot::now());
    assert!(matches!(rig.held("C02XK0AAJG5H"), Held::Rows(_)));
    drop(beside);
    assert_eq!(fs::read(rig.path()).unwrap(), before);
    assert!(matches!(rig.held("C02XK0AAJG5H"), Held::Rows(_)));
}

#[tokio::test]
async fn one_source_is_cleared_and_the_others_stay() {
    let mut rig = Rig::new();
    rig.fill(10, &rows(3)).await;
    let mut pass = rig.begin_of("apple", 10).await;
    pass.page(rows(2), at(10, 1)).await.unwrap();
    pass.finish(Vec::new(), 1).await.unwrap();
    rig.stop();
    clear(&rig.path(), &name("kandji")).unwrap();
    assert!(!rig.log().exists(), "the file alone holds all");
    let left = survey(&rig.path()).unwrap().sources;
    assert_eq!(left.keys().collect::<Vec<_>>(), [&name("apple")]);
    assert_eq!(left.get(&name("apple")).unwrap().rows, 2);
}

#[test]
fn what_is_no_replica_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replica.sqlite");
    assert_eq!(survey(&path), Err(ReadFault::Absent(path.clone())));
    fs::write(&path, "no database".repeat(100)).unwrap();
    assert_eq!(survey(&path), Err(ReadFault::Broken(path.clone())));
    assert!(Store::beside(&path).is_err());
    assert_eq!(fs::read(&path).unwrap().len(), 1_100);
    // Cleared, it goes as a whole.
    clear(&path, &name("kandji")).unwrap();
    assert_eq!(survey(&path), Err(ReadFault::Absent(path)));
}

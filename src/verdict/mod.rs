//! The rule: the set of answers and the policy give one verdict, with its reason and words. Pure.

use std::time::Duration;

use crate::{readiness::evidence::Grade, runtime::name::Name};

/// The station's policy (`[verdict]`), as one lane sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The sources in config order, with their kind.
    pub sources: Vec<PolicySource>,
    /// The weakest grade that makes a box ready.
    pub min_grade: Grade,
    /// How long the sources may take, from the scan.
    pub deadline: Duration,
    /// Devices once pushed, or removed from the MDM, may be green again.
    pub allow_returned: bool,
    /// A profile assigned less than this ago is still settling.
    pub settle: Duration,
    /// First re-check of a waiting box.
    pub recheck: Duration,
    /// For how long a waiting box is asked again.
    pub recheck_for: Duration,
    /// Hash of the `[verdict]` section and the lane's overrides, 8 hex digits.
    pub hash: String,
}

/// One configured source as the rule sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySource {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: crate::readiness::evidence::SourceKind,
    /// Must it agree before a box is ready?
    pub required: bool,
}

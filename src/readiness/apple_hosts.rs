//! Apple's hosts that people take for one another.

/// Of the Device Assignment Services.
pub(super) const DEVICE_ASSIGNMENT: &str = "mdmenrollment.apple.com";

/// What stands in the browser of somebody who manages Apple devices.
pub(super) fn is_console(host: &str) -> bool {
    [
        "business.apple.com",
        "school.apple.com",
        "deploy.apple.com",
        "ws.business.apple.com",
        "appleid.apple.com",
    ]
    .contains(&host)
}

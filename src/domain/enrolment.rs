//! Who may become a device.

/// Whether a device can be enrolled without the owner's word (`enrolment.open`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentPolicy {
    /// The owner, or whoever has a one-time code.
    ByCode,
    /// Anyone.
    Open,
}

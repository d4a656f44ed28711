//! The process's memory: nothing else may look into it, and it is not written down when the process crashes.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Switches core dumps off, for this process and all that it starts, and on Linux also debuggers of the same user and
/// dumps by a handler that the kernel pipes to (G08). What the system refuses is logged, and nothing else: a
/// service without this is better than none.
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(%error, "other processes of this user could not be kept from reading this one's memory");
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getrlimit;

    use super::*;

    #[test]
    fn g08_core_dumps_are_off_and_nobody_may_look_in() {
        keep_memory_private();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
    }
}

//! How long one waits after wrong passwords in a row (I03).
//!
//! Four cost nothing, then the wait doubles from a second up to a quarter of an hour. The hundredth in a row
//! makes it a day, so that guessing without an end is hopeless and a right password still gets in, late.

use std::time::Duration;

/// Wrong passwords in a row from which on the wait stays the same.
pub const MOST_FAILURES: usize = 100;

const FREE: u32 = 4;
const LONGEST: u64 = 15 * 60;
const DAY: Duration = Duration::from_hours(24);

/// The wait after `failures` wrong passwords in a row.
pub fn wait_after(failures: usize) -> Duration {
    if failures >= MOST_FAILURES {
        return DAY;
    }
    let counted = u32::try_from(failures).unwrap_or(u32::MAX).saturating_sub(FREE);
    match counted {
        0 => Duration::ZERO,
        counted => Duration::from_secs(1_u64.checked_shl(counted - 1).unwrap_or(LONGEST).min(LONGEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i03_the_wait_grows_with_each_wrong_password_and_has_an_upper_end() {
        let seconds = |failures| wait_after(failures).as_secs();
        assert_eq!([0, 1, 4, 5, 6, 7, 10].map(seconds), [0, 0, 0, 1, 2, 4, 32]);
        assert_eq!([14, 15, 69, 99].map(seconds), [512, 900, 900, 900]);
        assert_eq!([100, 1000, usize::MAX].map(seconds), [86_400; 3]);
        for failures in 0..200 {
            assert!(wait_after(failures) <= wait_after(failures + 1), "{failures}");
        }
    }
}

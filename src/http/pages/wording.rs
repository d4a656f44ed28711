//! What the pages say. Fixed sentences and parsed values, never a cause's text.
//!
//! Each outcome has a heading, what happened and what to do next. Every `match` names every outcome, so a
//! new one does not compile before it has its words.

use std::time::Duration;

use super::{
    Outcome,
    Watch::{LongEnough, Looking},
};

pub(super) const THEN_DONE: &str = "Then this browser shows whether it worked.";
pub(super) const THEN_CODE: &str =
    "Then this browser shows six digits, to be typed where you started. Nothing is linked before that.";
pub(super) const CODE_UNKNOWN: &str =
    "This code is not known, or has expired. Compare it with your device, or ask the device for a new one.";
pub(super) const FORM_EXPIRED: &str = "This page was open for too long, or your browser keeps no cookies. Allow them for this site and try again.";

pub(super) const LOGIN_WRONG: &str =
    "The name, the device or the password is wrong, or is not what the terminal asked for. Please try again.";
pub(super) const LOGIN_BUSY: &str = "cloudlink has more to do than it can do right now. Please try again.";
pub(super) const LOGIN_PROVIDER: &str =
    "Signing in with that account did not work. Try again, or sign in another way.";

const START_AGAIN: &str = "To try again, start on your device once more.";
const TELL_THE_AUTHOR: &str = "Start on your device once more. If this comes again, the plugin’s settings may \
    be wrong: tell whoever made the plugin.";
const ON_YOUR_DEVICE: &str = "Start over on your device: open the plugin there and choose Authenticate.";

/// The picture beside a heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Icon {
    /// A tick.
    Done,
    /// A clock.
    Waiting,
    /// A key.
    Key,
    /// A stroke: it ended, and nothing is wrong.
    Ended,
    /// An exclamation mark.
    Trouble,
}

impl Outcome {
    pub(super) fn icon(&self) -> Icon {
        match self {
            Self::SignIn(end) => end.icon(),
            Self::Linked => Icon::Done,
            Self::Exchanging(_) | Self::Delivering(_) => Icon::Waiting,
            Self::Confirm(..) => Icon::Key,
            Self::Cancelled
            | Self::Denied
            | Self::Expired
            | Self::AlreadyUsed
            | Self::OtherBrowser
            | Self::NotFound
            | Self::Prefetch => Icon::Ended,
            Self::OtherNetwork
            | Self::ProviderDown
            | Self::ProviderRefused(_)
            | Self::InvalidAnswer
            | Self::AnswerTooLarge
            | Self::WrongCode
            | Self::IssuerMismatch
            | Self::BadCallback
            | Self::BadRequest
            | Self::FormExpired
            | Self::TooManyRequests(_)
            | Self::Busy(_)
            | Self::Internal => Icon::Trouble,
        }
    }

    pub(super) fn heading(&self) -> &'static str {
        match self {
            Self::Exchanging(Looking) => "Almost there",
            Self::Exchanging(LongEnough) => "This takes longer than usual",
            Self::Delivering(_) => "Your account is linked",
            Self::Linked => "It worked",
            Self::Confirm(..) => "One more step",
            Self::Cancelled => "Cancelled",
            Self::Denied => "Not allowed",
            Self::Expired => "This link has expired",
            Self::AlreadyUsed => "This link was already used",
            Self::OtherBrowser => "This link belongs to another browser",
            Self::OtherNetwork => "You are on another network",
            Self::ProviderDown => "The provider does not answer",
            Self::ProviderRefused(_) => "The provider said no",
            Self::InvalidAnswer => "The provider’s answer made no sense",
            Self::AnswerTooLarge => "The provider’s answer was too large",
            Self::WrongCode => "The code was wrong",
            Self::IssuerMismatch => "This answer came from elsewhere",
            Self::BadCallback => "This can’t be finished here",
            Self::BadRequest => "This request can’t be read",
            Self::FormExpired => "Please try again",
            Self::NotFound => "There is nothing here",
            Self::Prefetch => "Not opened yet",
            Self::TooManyRequests(_) => "Too many tries",
            Self::Busy(_) => "A little too busy",
            Self::Internal => "Something went wrong",
            Self::SignIn(end) => end.heading(),
        }
    }

    /// What happened. The sentence follows the subject where there is one.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Exchanging(Looking) => {
                "You allowed it. cloudlink is fetching the access from the provider."
            }
            Self::Exchanging(LongEnough) => "cloudlink still waits for the provider’s answer.",
            Self::Delivering(Looking) => "is being told.",
            Self::Delivering(LongEnough) => "has not answered yet. It may be switched off or offline.",
            Self::Linked => "has it.",
            Self::Confirm(..) => "waits for these digits. Type them where you started:",
            Self::Cancelled => "You pressed Cancel. Nothing was linked.",
            Self::Denied => "The provider says that this was not allowed. Nothing was linked.",
            Self::Expired => "A link is good for a few minutes, and this one’s time is over.",
            Self::AlreadyUsed => "Each link leads to an end once.",
            Self::OtherBrowser => "It was opened and continued in another browser, and works only there.",
            Self::OtherNetwork => "This was asked for from another network than the one this browser is on.",
            Self::ProviderDown => "You allowed it, but then the provider could not be reached.",
            Self::ProviderRefused(_) => "It refused to finish the link. Nothing was linked.",
            Self::InvalidAnswer => "cloudlink could not read it, and kept nothing of it.",
            Self::AnswerTooLarge => "cloudlink can’t take that much, and kept nothing of it.",
            Self::WrongCode => "Wrong digits were typed five times, so nothing was handed over.",
            Self::IssuerMismatch => "It is not from the provider that you were sent to, so it was not used.",
            Self::BadCallback => {
                "The address that brought you here is incomplete, was used before, or belongs to another browser."
            }
            Self::BadRequest => "Something in what your browser sent is missing, or is there twice.",
            Self::FormExpired => FORM_EXPIRED,
            Self::NotFound => "The address is mistyped, or the link is an old one.",
            Self::Prefetch => "Your browser asked for this link before you did, so nothing has happened.",
            Self::TooManyRequests(_) => "There were too many requests from your network.",
            Self::Busy(_) => "cloudlink has more to do than it can do right now.",
            Self::Internal => "The fault is on this side, not yours.",
            Self::SignIn(end) => end.what(),
        }
    }

    /// Whether the plugin on its device is the subject of what happened.
    pub(super) fn is_about_the_plugin(&self) -> bool {
        matches!(self, Self::Delivering(_) | Self::Linked | Self::Confirm(..))
    }

    /// What to do next.
    pub(super) fn next(&self) -> String {
        let fixed = match self {
            Self::Exchanging(Looking) => "This page goes on by itself in a moment.",
            Self::Exchanging(LongEnough) => {
                "Look again in a minute. If nothing changes, start on your device once more."
            }
            Self::Delivering(Looking) => "This page shows when it has arrived. You need not wait for it.",
            Self::Delivering(LongEnough) => {
                "It gets the access as soon as it is back. You may close this page."
            }
            Self::Linked => "You may close this page.",
            Self::Confirm(..) => {
                "Nothing is handed over before that. If you did not start this yourself, give this code to nobody \
                 and close this page."
            }
            Self::Cancelled | Self::Denied | Self::WrongCode => START_AGAIN,
            Self::Expired | Self::AlreadyUsed => "For a new link, start on your device once more.",
            Self::OtherBrowser => "Go on in that browser, or start on your device once more for a new link.",
            Self::OtherNetwork => {
                "Open the link again on a phone or computer that is in the network at home."
            }
            Self::ProviderDown => "Wait a few minutes, then start on your device once more.",
            Self::ProviderRefused(_) | Self::InvalidAnswer | Self::AnswerTooLarge => TELL_THE_AUTHOR,
            Self::IssuerMismatch => {
                "Start on your device once more. If this comes again, stop, and tell whoever runs this service."
            }
            Self::BadCallback => ON_YOUR_DEVICE,
            Self::BadRequest => "Go back and try again, or start over on your device.",
            Self::FormExpired => "Go back, load that page again and repeat what you did.",
            Self::NotFound => "Check the address, or start on your device once more for a new link.",
            Self::Prefetch => "Open it now to go on.",
            Self::TooManyRequests(after) | Self::Busy(after) => {
                return format!("Please wait {}, then load this page again.", wait(*after));
            }
            Self::SignIn(end) => end.next(),
            Self::Internal => {
                "Try again in a minute. If this comes again, tell whoever runs this service the number below."
            }
        };
        fixed.to_owned()
    }

    /// Whether to add that what was linked before still is.
    pub(super) fn earlier_stays(&self) -> bool {
        match self {
            Self::Cancelled
            | Self::Denied
            | Self::Expired
            | Self::OtherBrowser
            | Self::OtherNetwork
            | Self::ProviderDown
            | Self::ProviderRefused(_)
            | Self::InvalidAnswer
            | Self::AnswerTooLarge
            | Self::WrongCode
            | Self::IssuerMismatch
            | Self::BadCallback => true,
            Self::Exchanging(_)
            | Self::Delivering(_)
            | Self::Linked
            | Self::Confirm(..)
            | Self::AlreadyUsed
            | Self::BadRequest
            | Self::FormExpired
            | Self::NotFound
            | Self::Prefetch
            | Self::TooManyRequests(_)
            | Self::Busy(_)
            | Self::Internal
            | Self::SignIn(_) => false,
        }
    }
}

/// A time to wait, rounded up to what a person would say.
pub(super) fn wait(time: Duration) -> String {
    match time.as_secs().max(1) {
        1 => "a second".to_owned(),
        seconds @ 2..60 => format!("{seconds} seconds"),
        60 => "a minute".to_owned(),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_told_shorter_than_it_is() {
        let told =
            [(0, "a second"), (45, "45 seconds"), (60, "a minute"), (61, "2 minutes"), (600, "10 minutes")];
        for (seconds, words) in told {
            assert_eq!(wait(Duration::from_secs(seconds)), words);
        }
    }
}

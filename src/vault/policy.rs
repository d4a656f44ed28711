//! Which passwords may be chosen (I01, after NIST SP 800-63B §5.1.1.2).
//!
//! A password is the only factor here, so it has at least 15 characters; any characters, no composition
//! rules. Refused is what a guesser tries first: common words and rows of keys, the device's own name, one
//! short sequence over and over. A [`NewPassword`] has passed; only that can be hashed. What is presented at
//! a login is not judged here, only compared.

use crate::domain::secret::Password;

/// The fewest characters.
pub const SHORTEST: usize = 15;
/// The most characters.
pub const LONGEST: usize = 256;
/// The most bytes of UTF-8, also of a password presented at a login.
pub const LONGEST_BYTES: usize = 1024;

/// How many characters must remain once every common word is taken out.
const OWN_CHARACTERS: usize = 8;
/// A shorter name of a device is part of too many words to be looked for.
const SHORTEST_NAME: usize = 4;

/// Words and rows of keys that lists of leaked passwords begin with, and those of this house. No word may
/// stand behind one that is a part of it.
const COMMON: [&str; 60] = [
    "correcthorsebatterystaple",
    "correct horse battery staple",
    "correct-horse-battery-staple",
    "abcdefghijklmnopqrstuvwxyz",
    "homeassistant",
    "administrator",
    "qwertyuiop",
    "qwertzuiop",
    "1q2w3e4r5t",
    "1234567890",
    "0123456789",
    "9876543210",
    "0987654321",
    "asdfghjkl",
    "123456789",
    "passphrase",
    "basketball",
    "universal",
    "cloudlink",
    "passwords",
    "password1",
    "password",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "iloveyou",
    "superman",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "trustno1",
    "changeme",
    "computer",
    "internet",
    "whatever",
    "12345678",
    "1q2w3e4r",
    "zxcvbnm",
    "welcome",
    "letmein",
    "default",
    "polyglot",
    "1234567",
    "monkey",
    "dragon",
    "shadow",
    "master",
    "polisy",
    "secret",
    "qwerty",
    "qwertz",
    "azerty",
    "123456",
    "abc123",
    "admin",
    "login",
    "12345",
    "eisy",
    "test",
];

/// Why a password may not be chosen: a sentence for the one who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Under 15 characters.
    #[error("the password has fewer than 15 characters: a few words that don't belong together do well")]
    TooShort,
    /// Over 256 characters or 1024 bytes.
    #[error("the password has more than 256 characters")]
    TooLong,
    /// It has the device's name in it.
    #[error("the password contains the device's own name: choose one that doesn't")]
    OwnName,
    /// One short sequence over and over, or a run of neighbouring characters.
    #[error("the password is one short sequence repeated: choose one that a pattern doesn't describe")]
    Repetitive,
    /// Hardly anything but common words.
    #[error("the password is little more than words that are guessed first: choose other words")]
    Common,
}

/// A password that may be set.
#[derive(Debug, Clone)]
pub struct NewPassword(Password);

impl NewPassword {
    /// Judges what was chosen for the device, or for the owner, called `own_name`.
    pub fn choose(password: Password, own_name: &str) -> Result<Self, PasswordRefused> {
        judge(password.expose(), own_name)?;
        Ok(Self(password))
    }

    /// The password.
    pub fn password(&self) -> &Password {
        &self.0
    }
}

fn judge(text: &str, own_name: &str) -> Result<(), PasswordRefused> {
    if text.len() > LONGEST_BYTES {
        return Err(PasswordRefused::TooLong);
    }
    let characters: Vec<char> = text.chars().collect();
    match characters.len() {
        ..SHORTEST => return Err(PasswordRefused::TooShort),
        SHORTEST..=LONGEST => {}
        _ => return Err(PasswordRefused::TooLong),
    }
    let lower = text.to_lowercase();
    let name = own_name.trim().to_lowercase();
    if name.chars().count() >= SHORTEST_NAME && lower.contains(&name) {
        return Err(PasswordRefused::OwnName);
    }
    if repeats(&characters) || runs(&characters) {
        return Err(PasswordRefused::Repetitive);
    }
    let rest = COMMON.iter().fold(lower, |rest, word| rest.replace(word, ""));
    if rest.chars().count() < OWN_CHARACTERS {
        return Err(PasswordRefused::Common);
    }
    Ok(())
}

/// Whether it is one sequence, too short to be a password by itself, at least twice.
fn repeats(text: &[char]) -> bool {
    let longest = (text.len() / 2).min(SHORTEST - 1);
    (1..=longest).any(|period| text.iter().zip(text.iter().skip(period)).all(|(a, b)| a == b))
}

/// Whether each character is the next one, or the one before, in the order of code points.
fn runs(text: &[char]) -> bool {
    let mut steps = text
        .iter()
        .zip(text.iter().skip(1))
        .map(|(a, b)| i64::from(u32::from(*b)) - i64::from(u32::from(*a)));
    steps.clone().all(|step| step == 1) || steps.all(|step| step == -1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(text: &str) -> Result<(), PasswordRefused> {
        NewPassword::choose(Password::new(text), "Kitchen hub").map(drop)
    }

    #[test]
    fn i01_fourteen_characters_are_too_few_and_fifteen_enough() {
        assert_eq!(chosen("mvk zqpx tbwn4"), Err(PasswordRefused::TooShort));
        assert_eq!(chosen("mvk zqpx tbwn4d"), Ok(()));
        assert_eq!(chosen("ääääöööüüü èé"), Err(PasswordRefused::TooShort));
        assert_eq!(chosen("äböcüdèféghïjkł"), Ok(()));
    }

    #[test]
    fn i01_spaces_emoji_and_great_length_are_allowed_up_to_the_limit() {
        let long = "🦔 the quick fox 🦊 jumps over lazy dogs, twice a day at half past!";
        assert!(long.chars().count() >= 64);
        assert_eq!(chosen(long), Ok(()));
        let of = |length: usize| {
            (0..length).map(|i| char::from(b'!' + u8::try_from(i * i % 89).unwrap())).collect::<String>()
        };
        assert_eq!(chosen(&of(256)), Ok(()));
        assert_eq!(chosen(&of(257)), Err(PasswordRefused::TooLong));
        assert_eq!(chosen(&"🦔🦊🐈".repeat(86)), Err(PasswordRefused::TooLong));
    }

    #[test]
    fn i01_common_words_do_not_make_a_password_alone_or_joined() {
        for common in [
            "correcthorsebatterystaple",
            "Correct Horse Battery Staple",
            "PasswordPassword1",
            "passwordadmin123",
            "letmein123456789",
            "qwertyuiop12345!",
            "cloudlink-password",
            "123456789012345",
            "adminpolisyeisy2026",
        ] {
            assert_eq!(chosen(common), Err(PasswordRefused::Common), "{common}");
        }
        assert_eq!(chosen("my password is a heron"), Ok(()));
    }

    #[test]
    fn i01_the_devices_name_may_not_be_in_it() {
        assert_eq!(chosen("my KITCHEN HUB of 1987"), Err(PasswordRefused::OwnName));
        assert_eq!(NewPassword::choose(Password::new("a heron in the reeds"), "in").map(drop), Ok(()));
    }

    #[test]
    fn i01_one_sequence_over_and_over_is_refused() {
        for bad in [
            "aaaaaaaaaaaaaaa",
            "abababababababa",
            "heron!heron!heron!",
            "bcdefghijklmnopq",
            "zyxwvutsrqponml",
        ] {
            assert_eq!(chosen(bad), Err(PasswordRefused::Repetitive), "{bad}");
        }
    }

    #[test]
    fn every_word_of_the_list_can_match() {
        for (at, word) in COMMON.iter().enumerate() {
            assert_eq!(*word, word.to_lowercase());
            let earlier = COMMON.iter().take(at).find(|earlier| word.contains(**earlier));
            assert_eq!(earlier, None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_judged_whatever_it_is(text in ".{0,300}", name in ".{0,20}") {
            if NewPassword::choose(Password::new(text.clone()), &name).is_ok() {
                prop_assert!((SHORTEST..=LONGEST).contains(&text.chars().count()));
            }
        }
    }
}

//! What a refusal means to whoever typed the command.
//!
//! The API's own texts are for programs that call it: they name its calls, and can't know what was typed or who speaks.
//! Here, and nowhere else, a refusal's `code` becomes a sentence that names the next command. What has no sentence here
//! is told in the API's words.

use anyhow::anyhow;

use super::{
    credentials::Source,
    session::{Session, shown},
};
use crate::{
    api_client::{ApiError, Problem, Who},
    domain::ids::{DeviceId, PluginId, SlotName},
};

/// What a command was told on the command line, as far as a refusal can be about it. A device is one that was given by
/// `--device`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// Nothing in particular.
    Nothing,
    /// A plugin of the store.
    Plugin(&'a PluginId),
    /// A device.
    Device(Option<DeviceId>),
    /// A trusted key of a device.
    Key(Option<DeviceId>),
    /// A command for a hub.
    Command(&'a str, Option<DeviceId>),
    /// A slot.
    Slot(&'a SlotName, Option<DeviceId>),
    /// A plugin to install in a slot.
    Install(&'a PluginId, Option<DeviceId>),
}

/// The same failure in words for whoever typed the command.
pub(super) fn advise(error: anyhow::Error, session: &Session, asked: Asked<'_>) -> anyhow::Error {
    let Some(ApiError::Refused(problem)) = error.downcast_ref() else { return error };
    let told = match problem.code.as_str() {
        "unauthorized" => return session.refused(error),
        "forbidden" => Some(wrong_speaker(session.claims.who, &session.source)),
        _ => about(problem, asked),
    };
    told.map_or(error, |told| anyhow!(told))
}

/// The same failure where the server itself was just named: a server without the call is none, as the console's
/// address is not.
pub(super) fn at_a_new_server(error: ApiError) -> ApiError {
    match error {
        ApiError::Refused(problem) if problem.code == "not_found" => {
            ApiError::NotCloudlink { status: problem.status }
        }
        ApiError::Refused(_) | ApiError::Unreached(_) | ApiError::NotCloudlink { .. } => error,
    }
}

/// Whoever speaks may not do it. An owner's login must not take the place of a hub's key.
fn wrong_speaker(who: Who, source: &Source) -> String {
    let speaker = shown(who);
    if who == Who::Owner {
        return format!(
            "you speak as {speaker} ({source}), and this is for the device itself: run it on the hub, or sign in as \
             the device with `cloudlink login --here --device ID` in a folder of its own"
        );
    }
    let way = match source {
        Source::Environment => {
            "unset CLOUDLINK_TOKEN, or set one of the owner's, or one obtained with the device's key"
        }
        Source::File(path) if path.is_relative() => {
            "run it in another folder, and sign in there with `cloudlink login`"
        }
        Source::File(_) => {
            "run it where the owner is signed in, or sign in with `cloudlink login --here` in a folder of its own"
        }
    };
    format!("you speak as {speaker} ({source}), and this is for the owner: {way}")
}

fn about(problem: &Problem, asked: Asked<'_>) -> Option<String> {
    let at = |device: Option<DeviceId>| device.map_or(String::new(), |device| format!(" --device {device}"));
    let place = |device: Option<DeviceId>| match device {
        None => "this device".to_owned(),
        Some(device) => format!("device {device} (`cloudlink device list`)"),
    };
    Some(match (problem.code.as_str(), asked) {
        ("not_found", Asked::Plugin(plugin)) => format!(
            "there is no plugin {plugin} in the store: `cloudlink plugin list` shows those there are, `cloudlink \
             plugin put {plugin} FILE` adds it"
        ),
        ("not_found", Asked::Device(device) | Asked::Install(_, device)) => {
            format!("{} is not there, or not yours", place(device))
        }
        ("not_found", Asked::Key(device)) => format!(
            "{} trusts no such key: `cloudlink device keys{}` shows those that it trusts",
            place(device),
            at(device)
        ),
        ("not_found", Asked::Command(name, device)) => format!(
            "there is no command {name}, or {} is not there: the commands are in the API's reference, /docs at the \
             server",
            place(device)
        ),
        ("not_found", Asked::Slot(slot, device)) => format!(
            "there is no slot {slot} on {place}: `cloudlink slot list{at}` shows those there are, `cloudlink slot \
             install {slot}{at} --plugin ID` installs a plugin there",
            place = place(device),
            at = at(device)
        ),
        ("authorization_required", Asked::Slot(slot, device)) => {
            format!("slot {slot} is not linked: `cloudlink slot connect {slot}{}`", at(device))
        }
        ("awaiting_approval", Asked::Slot(..)) => "another plugin speaks for this authorization server: the owner \
             approves this one with `cloudlink plugin approve ID`, or gives it its own redirect URI (\"redirect_uri\": \
             \"own\")"
            .to_owned(),
        ("invalid", Asked::Install(plugin, _)) if problem.is_about("/plugin") => format!(
            "there is no plugin {plugin} in the store: the owner adds it with `cloudlink plugin put {plugin} FILE`"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "0c1f0d5e-9a3e-4b53-8f0e-1b5a7f6f2c11";

    #[test]
    fn whoever_speaks_is_named_and_what_to_do_does_not_cost_a_hub_its_key() {
        let device = Who::Device(DEVICE.parse().unwrap());
        let here = wrong_speaker(device, &Source::File("./.cloudlink/credentials.json".into()));
        assert!(here.starts_with(&format!("you speak as device {DEVICE} (./.cloudlink")), "{here}");
        assert!(here.contains("another folder"), "{here}");
        let user = wrong_speaker(device, &Source::File("/home/a/.config/cloudlink/credentials.json".into()));
        assert!(user.contains("`cloudlink login --here`"), "{user}");
        assert!(wrong_speaker(device, &Source::Environment).contains("unset CLOUDLINK_TOKEN"));
        assert!(wrong_speaker(Who::Owner, &Source::Environment).contains("--device ID"));
    }
}

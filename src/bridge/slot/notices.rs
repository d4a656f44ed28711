//! The notice with the connect URL, among the plugin's own.

use serde_json::{Value, json};

use super::{Mode, Slot};
use crate::{bridge::tokens::Moment, domain::json::Object};

/// The key of our notice.
const OURS: &str = "cloudlink";

impl Slot {
    /// The plugin, or PG3, says which notices there are. False where they are too much to keep.
    pub(super) fn notices_written(&mut self, mut written: Object) -> bool {
        self.pg3.plugin_wrote_notices(&written);
        written.shift_remove(OURS);
        self.kept.set_custom("notices", written.into())
    }

    /// The plugin's notices, and ours where there is one.
    pub(super) fn all_notices(&self) -> Object {
        let mut notices = self.kept.notices();
        notices.extend(self.invite.text().map(|text| (OURS.to_owned(), Value::String(text))));
        notices
    }

    /// Shows the notice, or takes it away.
    pub(super) fn show_notice(&mut self, at: &Moment) {
        let wanted = self.invite.text();
        if !self.mqtt || (wanted.is_none() && !self.kept.noticed) {
            return;
        }
        if wanted.is_some() && !self.kept.noticed {
            self.kept.noticed = true;
            self.dirty = true;
        }
        match self.mode {
            Mode::Companion => self.save_notices(at),
            // Who starts gets them with everything else.
            Mode::Standalone if self.plugin.served && self.plugin.running_since().is_some() => {
                if self.plugin.asked.is_none() && self.told_notice != wanted {
                    self.dirty |= wanted.is_none();
                    self.kept.noticed = wanted.is_some();
                    self.told_notice = wanted;
                    let notices = Value::Object(self.all_notices()).to_string();
                    self.tell(json!({"custom": {"notices": notices}}));
                }
            }
            Mode::Standalone => {}
        }
    }
}

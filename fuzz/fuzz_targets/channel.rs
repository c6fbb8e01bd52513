//! Channels that a trusted key signed, whatever they say, and what is remembered of them.
#![no_main]

use imgforge::model::channel::{Channel, Patience};
use imgforge::model::seen::Seen;
use imgforge::model::time::Timestamp;
use imgforge::model::trust::Trusted;
use imgforge_fuzz::{key, signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Some(channel) = signed::<Channel>(payload) else { return };
    let trusted = Trusted::pin(channel.project.clone(), key().public().clone());
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let mut seen = Seen::nothing();
    let (project, name) = (&channel.project, &channel.channel);
    if let Ok(followed) = channel.follow(project, name, &seen, &trusted, Patience::UntilItExpires, now) {
        seen.note(name, followed.pointer, &trusted).expect("the first pointer");
        // What was followed once is followed again.
        assert!(channel.follow(project, name, &seen, &trusted, Patience::UntilItExpires, now).is_ok());
    }
});

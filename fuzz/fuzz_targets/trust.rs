//! Trust documents that the pinned key signed, whatever they say.
#![no_main]

use imgforge::model::seal::{Sealed, to_be_signed};
use imgforge::model::trust::{Step, Trust, Trusted};
use imgforge_fuzz::{key, signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Some(trust) = signed::<Trust>(payload) else { return };
    let signature = key().sign(&to_be_signed(payload)).expect("a signature");
    let sealed = Sealed::<Trust>::assemble(payload, &signature, key().public());
    let step = Step::begin(sealed).expect("one bundle");
    let trusted = Trusted::pin(trust.project.clone(), key().public().clone());
    if let Ok((next, _)) = trusted.advance(&step) {
        assert_eq!(next.version(), trust.version);
        // One signature never meets a threshold of two.
        assert_eq!(trust.root.threshold, 1);
    }
});

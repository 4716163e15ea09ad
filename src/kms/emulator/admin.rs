//! The admin endpoint: faults and counters as JSON, on a loopback port of its own, without access keys.
//!
//! `GET /faults` shows them, `PUT /faults` sets all of them at once (`{}` for none), `GET /calls` shows the counters,
//! `DELETE /calls` sets them back.

use serde_json::json;

use super::service::Emulator;

/// Answers an admin request: status and JSON.
pub(super) fn answer(emulator: &Emulator, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let shown = |value| (200, value);
    match (method, path) {
        ("GET", "/faults") => shown(json!(emulator.switches.read()).to_string()),
        ("PUT", "/faults") => match set(emulator, body) {
            Ok(()) => shown(json!(emulator.switches.read()).to_string()),
            Err(why) => (400, json!({ "error": why }).to_string()),
        },
        ("GET", "/calls") => shown(json!(emulator.counters.read()).to_string()),
        ("DELETE", "/calls") => {
            emulator.counters.reset();
            shown(json!(emulator.counters.read()).to_string())
        }
        _ => {
            let why = "there are GET and PUT /faults, GET and DELETE /calls";
            (404, json!({ "error": why }).to_string())
        }
    }
}

fn set(emulator: &Emulator, body: &[u8]) -> Result<(), String> {
    let faults = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    emulator.switches.set(faults).map_err(str::to_owned)
}

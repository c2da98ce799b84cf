//! What a service manager is told (`sd_notify(3)`), where there is one: `NOTIFY_SOCKET` in the environment says so.
//!
//! A service manager that cannot be reached is no reason to stop observing: it acts on its own timeouts.

use sd_notify::NotifyState;

/// The agent observes and serves; `status` says how.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It has just collected. Told where the manager watches for it (`WatchdogSec=`).
pub fn alive() {
    if sd_notify::watchdog_enabled().is_some() {
        tell(&[NotifyState::Watchdog]);
    }
}

/// It is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot tell the service manager: {error}");
    }
}

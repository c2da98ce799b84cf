//! Values of settings that are written as text, in a flag as in the file.

use std::str::FromStr;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::names::{NAME_MAX, SKIPS_MAX};
use serde::Deserialize;

use crate::address::Hints;

/// Whether plaintext is read in TLS libraries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// Never.
    #[default]
    Off,
    /// In those that are mapped when the agent starts.
    Start,
    /// In those that are mapped later, too, by a second process that keeps the privileges for it.
    Follow,
}

/// `medium=BYTES,large=BYTES,huge=BYTES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized(pub Thresholds);

impl FromStr for Oversized {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut thresholds = Thresholds::DEFAULT;
        for part in text.split(',') {
            let (name, bytes) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=BYTES"))?;
            let bytes = bytes.parse().map_err(|_| format!("{bytes:?} is not a number of bytes"))?;
            match name {
                "medium" => thresholds.medium = bytes,
                "large" => thresholds.large = bytes,
                "huge" => thresholds.huge = bytes,
                _ => return Err(format!("{name:?} is not one of medium, large and huge")),
            }
        }
        let Thresholds { medium, large, huge } = thresholds;
        if !(0 < medium && medium < large && large < huge) {
            return Err(format!("medium={medium},large={large},huge={huge} do not ascend from above 0"));
        }
        Ok(Self(thresholds))
    }
}

/// The protocols that a port is a hint at, and the ports that their servers listen on unless they are told otherwise.
pub(super) fn default_ports() -> impl Iterator<Item = (Protocol, u16)> {
    Protocol::ALL.into_iter().filter_map(|protocol| Some((protocol, protocol.default_port()?)))
}

/// `PROTOCOL=PORT,…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolPorts(pub Hints);

impl FromStr for ProtocolPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut hints = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, port) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not PROTOCOL=PORT"))?;
            let protocol = default_ports().find(|(protocol, _)| protocol.label() == name);
            let (protocol, _) = protocol.ok_or_else(|| {
                let names: Vec<&str> = default_ports().map(|(protocol, _)| protocol.label()).collect();
                format!("{name:?} is not one of {}", names.join(", "))
            })?;
            let port = port.parse().ok().filter(|&port| port > 0);
            hints.push((protocol, port.ok_or_else(|| format!("{part:?} does not name a port"))?));
        }
        Ok(Self(Hints(hints)))
    }
}

/// One ASCII character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator(pub u8);

impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(Self(*byte)),
            _ => Err(format!("{text:?} is not one ASCII character")),
        }
    }
}

/// `SEGMENT,…`: segments of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments(pub Vec<String>);

impl FromStr for Segments {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut segments: Vec<String> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            if part.len() > NAME_MAX || !part.bytes().all(|byte| (b' '..0x7F).contains(&byte)) {
                return Err(format!("{part:?} is not 1 to {NAME_MAX} characters of printable ASCII"));
            }
            if !segments.iter().any(|other| other == part) {
                segments.push(part.to_owned());
            }
        }
        if segments.len() > SKIPS_MAX as usize {
            return Err(format!("there are more than {SKIPS_MAX}"));
        }
        Ok(Self(segments))
    }
}

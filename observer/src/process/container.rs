//! Which container a process is in, by the names of its control groups: what each manager of containers calls them.

use std::borrow::Cow;

/// Characters of an id that are told, as `docker ps` and its kin tell it.
const ID_LENGTH: usize = 12;
/// Characters of a name that are told, at most. A host's name has no more, and most managers take no longer ones.
const NAME_LENGTH: usize = 64;

/// The container's id, or its name where its control group has no id, by what `/proc/PID/cgroup` says.
///
/// Of containers within one another, the innermost. Version 1 has a line for each of its hierarchies, not all of which
/// go as deep; below another root than the host's, paths start with `/..`.
pub(super) fn container_of(cgroups: &str) -> Option<String> {
    let found = cgroups.lines().filter_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        // The kernel says so of a group that was removed while a process was in it.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        (0..parts.len()).rev().find_map(|depth| Some((depth, container(&parts, depth)?)))
    });
    let (_, label) = found.max_by_key(|&(depth, _)| depth)?;
    Some(label.chars().take(NAME_LENGTH).collect())
}

/// The container that a part of a path stands for. What watches over it, in a group beside it, is not in it.
fn container<'a>(parts: &[&'a str], depth: usize) -> Option<Cow<'a, str>> {
    let part = parts[depth];
    let before = depth.checked_sub(1).map_or("", |before| parts[before]);
    let after = parts.get(depth + 1).copied().unwrap_or_default();
    id(part)
        .map(Cow::Borrowed)
        .or_else(|| lxc(before, part).map(Cow::Borrowed))
        .or_else(|| machine(part, after))
        .or_else(|| nomad(before, part).map(Cow::Owned))
        .filter(|label| !label.is_empty())
}

/// Docker, containerd, CRI-O and Podman: 64 hexadecimal digits, alone or between a prefix and `.scope`. Podman calls it
/// `libpod-payload-…` inside a unit that has a name of its own (`--cgroups=split`, as Quadlet does).
fn id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = part.rsplit_once(['-', ':']).unwrap_or(("", part));
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // `crio-conmon-…` and `libpod-conmon-…` hold what watches over the container.
    (is_id && !prefix.ends_with("conmon")).then(|| &id[..ID_LENGTH])
}

/// LXC, and with it LXD, Incus and Proxmox: `lxc.payload.NAME` since 4.0, a group `lxc.payload` or `lxc` around it
/// before and on Proxmox. Incus and LXD put the project in front, as in `shop_web`. What watches over the container is
/// in `lxc.monitor.NAME`.
fn lxc<'a>(before: &str, part: &'a str) -> Option<&'a str> {
    part.strip_prefix("lxc.payload.").or_else(|| matches!(before, "lxc" | "lxc.payload").then_some(part))
}

/// systemd-nspawn, and what else registers with systemd-machined: `machine-NAME.scope`, or the unit
/// `systemd-nspawn@NAME.service`. The container is in `payload` below, and what watches over it in `supervisor`.
fn machine<'a>(part: &'a str, after: &str) -> Option<Cow<'a, str>> {
    let name = part
        .strip_prefix("machine-")
        .and_then(|part| part.strip_suffix(".scope"))
        .or_else(|| part.strip_prefix("systemd-nspawn@")?.strip_suffix(".service"))?;
    let name = unescaped(name);
    // A virtual machine of libvirt is no container: its process is the host's.
    (after != "supervisor" && !name.starts_with("qemu-")).then_some(name)
}

/// What systemd has escaped in a unit's name: `\x2d` stands for the hyphen, for one (systemd.unit(5)).
fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains("\\x") {
        return Cow::Borrowed(name);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, escaped)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = escaped.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = if let Some(byte) = byte {
            bytes.push(byte);
            &escaped[2..]
        } else {
            bytes.extend_from_slice(b"\\x");
            escaped
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Nomad's `exec`, `java` and `raw_exec` drivers: `ALLOCATION.TASK.scope` below `nomad.slice`, and without `.scope` in
/// version 1. An allocation is a UUID, which Nomad itself shows the first eight digits of. Tasks of its `docker` and
/// `podman` drivers have those programs' ids.
fn nomad(before: &str, part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let allocation = part.get(..36).filter(|id| is_uuid(id))?;
    let short = &allocation[..8];
    match part[36..].strip_prefix(['.', '-']) {
        Some(task) if !task.is_empty() => Some(format!("{short}.{task}")),
        // Others use UUIDs, too.
        _ => (part.len() == 36 && before == "nomad").then(|| short.to_owned()),
    }
}

/// Whether it is a UUID as it is written: `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` (RFC 9562, section 4).
fn is_uuid(text: &str) -> bool {
    let is_hyphen = |at| matches!(at, 8 | 13 | 18 | 23);
    text.bytes()
        .enumerate()
        .all(|(at, byte)| if is_hyphen(at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::{NAME_LENGTH, container_of};

    const ID: &str = "4f1c2d3e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

    #[test]
    fn containers_are_told_by_their_cgroup() {
        for path in [
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("12:memory:/docker/{ID}\n0::/"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("0::/kubepods/besteffort/pod1/{ID}"),
            format!("0::/kubepods.slice/crio-{ID}.scope/container"),
            format!("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"),
            format!("0::/machine.slice/libpod-{ID}.scope"),
            format!("0::/system.slice/web.service/libpod-payload-{ID}"),
            format!("0::/lxc.payload.web/system.slice/docker-{ID}.scope"),
        ] {
            assert_eq!(container_of(&path).as_deref(), Some(&ID[..12]), "{path}");
        }
    }

    #[test]
    fn what_is_in_no_container_has_none() {
        for path in [
            "0::/",
            "0::/user.slice/user-0.slice/session-1.scope",
            "",
            "\n::\n",
            "0::/docker-é.scope",
            // What watches over containers, and groups around them.
            &format!("0::/machine.slice/libpod-conmon-{ID}.scope"),
            "0::/lxc.monitor.web",
            "0::/lxc.monitor/web",
            "0::/lxc.payload.",
            "0::/lxc",
            "0::/machine.slice/machine-web.scope/supervisor",
            "0::/machine.slice/systemd-nspawn@web.service/supervisor",
            "0::/machine.slice/machine-qemu\\x2d3\\x2dguest.scope/libvirt/emulator",
            "0::/machine.slice/machine-.scope",
            "0::/nomad.slice/share.slice",
            "0::/nomad.slice/share.slice/é8c2a6d4e-1f3b-4a5c-9d7e-0b1a2c3d4e5f.web.scope",
            "0::/system.slice/8c2a6d4e-1f3b-4a5c-9d7e-0b1a2c3d4e5f",
            "0::/kubepods/besteffort/pod8c2a6d4e-1f3b-4a5c-9d7e-0b1a2c3d4e5f",
        ] {
            assert_eq!(container_of(path), None, "{path}");
        }
    }

    #[test]
    fn names_are_what_they_were_before_systemd_escaped_them() {
        for (path, name) in [
            ("0::/machine.slice/machine-my\\x2dweb.scope/payload/init.scope", "my-web"),
            ("0::/machine.slice/machine-a\\x2.scope/payload", "a\\x2"),
            ("0::/machine.slice/machine-a\\xzz\\x2d.scope/payload", "a\\xzz-"),
            ("0::/machine.slice/machine-\\xff.scope/payload", "\u{fffd}"),
        ] {
            assert_eq!(container_of(path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let label = container_of(&format!("0::/lxc.payload.{}", "ü".repeat(120))).expect("there is a name");
        assert_eq!(label, "ü".repeat(NAME_LENGTH));
    }
}

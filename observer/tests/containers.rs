//! Containers by trees of `/proc`: `tests/proc/ENGINE-DRIVER-VERSION/PID/{cgroup,stat}`, written down in the form in
//! which each engine names control groups (runc's `libcontainer/cgroups`, CRI-O's `cgmgr`, Podman's `libpod`, LXC's
//! `cgroups/cgfsng.c`, systemd's `nspawn-cgroup.c` and `machined`, Nomad's `cgroupslib`), with the same two ids in all that
//! have ids.

use std::fs;
use std::path::Path;

use observer::process::Processes;
use observer_ebpf::layout::connection::Owner;

/// The id of the container in each tree, and of the one that it is in.
const INNER: &str = "4f1c2d3e4b5a";
const OUTER: &str = "9ab8c7d6e5f4";
const NONE: &str = "";
/// An allocation of Nomad's and its task.
const TASK: &str = "4f1c2d3e.web";

/// Each tree's processes, and their containers.
const TREES: [(&str, &[(u32, &str)]); 30] = [
    // dockerd itself is a service.
    ("docker-cgroupfs-v1", &[(201, INNER), (202, NONE)]),
    ("docker-systemd-v1", &[(201, INNER)]),
    ("docker-cgroupfs-v2", &[(201, INNER)]),
    // systemd in a container, which makes groups of its own; and what starts containers.
    ("docker-systemd-v2", &[(201, INNER), (202, OUTER), (203, NONE)]),
    ("containerd-cgroupfs-v1", &[(201, INNER)]),
    ("containerd-systemd-v2", &[(201, INNER), (202, NONE)]),
    // The kubelet hands out systemd's names, and containerd makes directories of them.
    ("containerd-mixed-drivers", &[(201, INNER)]),
    // conmon watches over a container from outside.
    ("crio-systemd-v1", &[(201, INNER), (202, NONE)]),
    ("crio-systemd-v2", &[(201, INNER), (202, NONE)]),
    ("podman-rootless-v2", &[(201, INNER), (202, NONE), (203, NONE)]),
    // In a unit with a name of its own, and without systemd.
    ("podman-split-v2", &[(201, INNER), (202, NONE)]),
    ("podman-cgroupfs-v2", &[(201, INNER), (202, NONE)]),
    // A monitor watches over a container from outside.
    ("lxc-v1", &[(201, "web"), (202, NONE)]),
    ("lxc-3.1-v1", &[(201, "web"), (202, NONE)]),
    ("lxc-v2", &[(201, "web"), (202, "web"), (203, NONE)]),
    ("lxc-unprivileged-v2", &[(201, "web")]),
    ("proxmox-v2", &[(201, "101"), (202, NONE)]),
    // A project's container, the daemon, and Docker in the container.
    ("incus-v2", &[(201, "shop_web"), (202, NONE), (203, NONE), (204, INNER)]),
    ("nspawn-v1", &[(201, "my-web")]),
    ("nspawn-v2", &[(201, "my-web"), (202, NONE)]),
    ("nspawn-unit-v2", &[(201, "web"), (202, NONE)]),
    // Virtual machines register like containers.
    ("libvirt-v2", &[(201, NONE)]),
    // Docker's tasks have Docker's ids.
    ("nomad-v1", &[(201, "4f1c2d3e"), (202, INNER)]),
    ("nomad-1.3-v2", &[(201, TASK)]),
    ("nomad-v2", &[(201, TASK), (202, "4f1c2d3e.web-sidecar"), (203, INNER), (204, NONE)]),
    // Containers within one, that is a node; on version 1 some hierarchies end at the node.
    ("kind-v1", &[(201, INNER), (202, OUTER)]),
    ("kind-v2", &[(201, INNER)]),
    // As an agent in a cgroup namespace of its own sees others, and itself.
    ("cgroup-namespace-v2", &[(201, INNER), (202, NONE), (203, NONE)]),
    ("systemd-v1", &[(201, NONE), (202, NONE)]),
    ("systemd-v2", &[(201, NONE), (202, NONE)]),
];

fn proc() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc"))
}

/// A process that started so many hundredths of a second after boot.
fn owner(pid: u32, hundredths: u64) -> Owner {
    Owner { start_ns: hundredths * 10_000_000, tgid: pid, exec_id: 1 }
}

#[test]
fn each_process_is_in_the_container_that_its_engine_put_it_in() {
    for (tree, processes) in TREES {
        let mut known = Processes::new(&proc().join(tree));
        for &(pid, container) in processes {
            let identity = known.identify(owner(pid, u64::from(pid) * 100), *b"recorded\0\0\0\0\0\0\0\0");
            assert_eq!((&*identity.container, identity.pid), (container, pid), "{tree}/{pid}");
            assert!(known.is_alive(pid, identity.start_ns), "{tree}/{pid}");
        }
    }
}

#[test]
fn no_tree_is_left_out() -> std::io::Result<()> {
    for tree in fs::read_dir(proc())? {
        let tree = tree?;
        let name = tree.file_name();
        let known = TREES.iter().find(|known| name == known.0);
        let processes = fs::read_dir(tree.path())?.count();
        assert_eq!(known.map(|known| known.1.len()), Some(processes), "{}", tree.path().display());
    }
    Ok(())
}

#[test]
fn another_process_with_the_same_number_is_in_no_container() {
    let mut known = Processes::new(&proc().join("docker-cgroupfs-v2"));
    assert_eq!(known.identify(owner(201, 777), [0; 16]).container, "");
}

#[test]
fn processes_outside_the_pid_namespace_are_one_by_name() {
    let mut known = Processes::new(&proc().join("docker-cgroupfs-v2"));
    let [one, other] = [1, 2].map(|start| known.identify(owner(0, start), *b"nginx\0\0\0\0\0\0\0\0\0\0\0"));
    assert_eq!(one, other);
    assert_eq!((&*one.name, one.pid, &*one.container), ("nginx", 0, ""));
    assert!(known.is_alive(one.pid, one.start_ns));
}

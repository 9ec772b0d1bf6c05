//! What the machine runs in: a hypervisor, a container.

use super::cpu;
use super::root::{Root, field};

/// The hypervisor of which this machine is a guest: `none` on bare metal, empty if unknown.
pub(super) fn hypervisor(root: &Root, cpuinfo: &str) -> String {
    const MAKERS: [(&str, &str); 10] = [
        ("QEMU", "kvm"),
        ("KVM", "kvm"),
        ("Amazon EC2", "ec2"),
        ("Google Compute Engine", "gce"),
        ("VMware", "vmware"),
        ("VirtualBox", "virtualbox"),
        ("innotek", "virtualbox"),
        ("Virtual Machine", "hyper-v"),
        ("Xen", "xen"),
        ("Parallels", "parallels"),
    ];
    if let Some(kind) = root.text("sys/hypervisor/type").filter(|kind| !kind.is_empty()) {
        return kind;
    }
    let tree = root.text("proc/device-tree/hypervisor/compatible");
    if let Some(kind) = tree.as_deref().and_then(|text| text.split(['\0', ',']).next_back()) {
        return kind.to_owned();
    }
    let is_x86 = field(cpuinfo, "flags").is_some();
    let is_guest = cpu::flags(cpuinfo).contains("hypervisor");
    let names = ["sys_vendor", "product_name", "bios_vendor"]
        .map(|name| root.text(&format!("sys/class/dmi/id/{name}")).unwrap_or_default());
    let maker = MAKERS.into_iter().find(|(word, _)| names.iter().any(|name| name.contains(word)));
    // Amazon also sells bare metal under its name; on x86 the processor flags a guest.
    match maker {
        Some((_, kind)) if is_guest || !is_x86 => kind.to_owned(),
        _ if is_guest => "of unknown kind".to_owned(),
        _ if is_x86 || !names.concat().is_empty() => "none".to_owned(),
        _ => String::new(),
    }
}

/// The kind of container that this process is in: `none` outside of one, empty if unknown.
pub(super) fn container(root: &Root) -> String {
    if let Some(kind) = root.text("run/systemd/container").filter(|kind| !kind.is_empty()) {
        return kind;
    }
    let groups = root.text("proc/self/cgroup");
    let word = |word: &str| groups.as_deref().is_some_and(|text| text.contains(word));
    let kind = match () {
        () if word("kubepods") || root.has("var/run/secrets/kubernetes.io") => "kubernetes",
        () if root.has(".dockerenv") || word("docker") => "docker",
        () if root.has("run/.containerenv") || word("libpod") => "podman",
        () if word("lxc") => "lxc",
        () if groups.is_some() => "none",
        () => "",
    };
    kind.to_owned()
}

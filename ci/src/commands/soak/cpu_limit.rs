//! A QEMU with a CPU limit: it gets one core of the host, and a tenth of a core where control groups allow it.
//!
//! The limit is a script in the run's folder, which is passed as `--qemu`. So the run is like any other, and can be repeated by
//! hand.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::base::files::RunFolder;
use crate::machine::arguments::quoted;
use crate::setup;

/// The CPU limit in percent of a core, and its period.
const PERCENT: u32 = 10;
const PERIOD_US: u32 = 100_000;

/// The QEMU, for as long as this lives.
#[derive(Debug)]
pub(crate) struct CpuLimit {
    /// The program.
    pub program: PathBuf,
    /// The control group that has the quota; none where the system refuses one.
    group: Option<PathBuf>,
}

impl CpuLimit {
    /// Makes one of this QEMU in the run's folder.
    pub(crate) fn new(qemu: &Path, folder: &RunFolder) -> Result<CpuLimit, Error> {
        let taskset = which::which("taskset").map_err(|_| Error::MissingByHand {
            what: "taskset".to_owned(),
            advice: "it comes with util-linux".to_owned(),
        })?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let core = first_core(&status).unwrap_or(0);
        let program = folder.file("qemu-held");
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let name = format!("octopod-soak-{}", std::process::id());
        let attempts = parents(&mounts, &own).into_iter().map(Some).chain([None]);
        for parent in attempts {
            let group = parent.as_ref().map(|parent| parent.path.join(&name));
            let enter = parent.map(|parent| parent.enter(&name)).unwrap_or_default();
            folder.write_script("qemu-held", script(&enter, &taskset, core, qemu).as_bytes())?;
            let limited = CpuLimit { program: program.clone(), group };
            // Whether it can be entered is known when it has been. A group that cannot be entered goes with `limited`.
            match setup::qemu::probe(&program) {
                Ok(_) => return Ok(limited),
                Err(error) if limited.group.is_none() => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("the last attempt has no group")
    }

    /// The remaining share of the host, as text.
    pub(crate) fn share(&self) -> String {
        match self.group {
            Some(_) => format!("one core and {PERCENT} % of it"),
            None => "one core".to_owned(),
        }
    }
}

impl Drop for CpuLimit {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // Of a group, only the folder can be removed. It may never have come to be.
            let _ = fs::remove_dir(group);
        }
    }
}

fn script(enter: &str, taskset: &Path, core: u32, qemu: &Path) -> String {
    let word = |path: &Path| String::from_utf8_lossy(&quoted(path.as_os_str())).into_owned();
    format!(
        "#!/bin/sh\n# QEMU, limited to a part of the host.\nset -e\n{enter}exec {} --cpu-list {core} {} \"$@\"\n",
        word(taskset),
        word(qemu)
    )
}

/// The first core that this process may run on.
fn first_core(status: &str) -> Option<u32> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split([',', '-']).next()?.parse().ok()
}

/// A control group that may get a group below it.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    path: PathBuf,
    unified: bool,
}

impl Parent {
    /// The lines of a shell by which it makes such a group and enters it.
    fn enter(&self, name: &str) -> String {
        let quota = PERIOD_US * PERCENT / 100;
        let path = |path: &Path| String::from_utf8_lossy(&quoted(path.as_os_str())).into_owned();
        let (parent, group) = (path(&self.path), path(&self.path.join(name)));
        let limit = if self.unified {
            format!(
                "[ -e {group}/cpu.max ] || echo +cpu > {parent}/cgroup.subtree_control\n\
                 echo {quota} {PERIOD_US} > {group}/cpu.max\n"
            )
        } else {
            format!(
                "echo {PERIOD_US} > {group}/cpu.cfs_period_us\n\
                 echo {quota} > {group}/cpu.cfs_quota_us\n"
            )
        };
        format!("mkdir -p {group}\n{limit}echo $$ > {group}/cgroup.procs\n")
    }
}

/// Returns the places where a group can be made: below the one that this process is in, or at the top, in either version's
/// hierarchy. `mounts` and `own` are as in `/proc/mounts` and `/proc/self/cgroup`.
fn parents(mounts: &str, own: &str) -> Vec<Parent> {
    let mut found = Vec::new();
    for mount in mounts.lines() {
        let fields: Vec<&str> = mount.split(' ').collect();
        let [_, at, kind, mount_options, ..] = fields[..] else { continue };
        let unified = kind == "cgroup2";
        if !unified && (kind != "cgroup" || !mount_options.split(',').any(|option| option == "cpu")) {
            continue;
        }
        let is_here = |controllers: &str| match unified {
            true => controllers.is_empty(),
            false => controllers.split(',').any(|controller| controller == "cpu"),
        };
        let own = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            is_here(controllers).then(|| path.trim_start_matches('/'))
        });
        for below in own.into_iter().filter(|path| !path.is_empty()).chain([""]) {
            let path = if below.is_empty() { PathBuf::from(at) } else { Path::new(at).join(below) };
            found.push(Parent { path, unified });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_where_the_processor_is_controlled() {
        let mounts = "proc /proc proc rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let own = "9:name=systemd:/\n2:cpuacct:/b\n1:cpu,io:/a/b\n0::/\n";
        let parent = |path: &str, unified| Parent { path: path.into(), unified };
        assert_eq!(
            parents(mounts, own),
            [
                parent("/sys/fs/cgroup/cpu/a/b", false),
                parent("/sys/fs/cgroup/cpu", false),
                parent("/sys/fs/cgroup/unified", true),
            ]
        );
        assert!(parents("", own).is_empty());
    }

    #[test]
    fn a_group_gets_a_tenth_of_a_core() {
        let unified = Parent { path: "/c g".into(), unified: true }.enter("soak");
        assert!(unified.contains("echo 10000 100000 > '/c g/soak'/cpu.max\n"), "{unified}");
        let old = Parent { path: "/cpu".into(), unified: false }.enter("soak");
        assert!(old.contains("echo 10000 > /cpu/soak/cpu.cfs_quota_us\n"), "{old}");
        assert!(old.ends_with("echo $$ > /cpu/soak/cgroup.procs\n"), "{old}");
    }

    #[test]
    fn the_first_core_is_one_that_may_be_used() {
        assert_eq!(first_core("Name:\tx\nCpus_allowed_list:\t3-7,9\n"), Some(3));
        assert_eq!(first_core("Cpus_allowed_list:\t12\n"), Some(12));
        assert_eq!(first_core(""), None);
    }
}
